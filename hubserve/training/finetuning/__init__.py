"""Fine-tuning of a trained network on other images: a new head, frozen early layers, training of the rest."""
