"""What a search does otherwise for each kind of data: evaluator, test, and what the package says about inputs and outputs."""
