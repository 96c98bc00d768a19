"""Carries out `hubserve predict --text`: classifies texts that are given on the command line."""

from collections.abc import Mapping, Sequence

from hubserve.cli.output import print_json, print_table
from hubserve.cli.resolve_model import open_package
from hubserve.data.labelled_texts import beginning
from hubserve.errors import OutputError
from hubserve.package.run_limit import interruptible
from hubserve.package.text_classifier import text_classifier


def predict_texts(
    model: str, texts: Sequence[str], *, top_k: int | None, as_json: bool, without_effect: Mapping[str, bool]
) -> None:
    """Classifies texts and prints the most likely classes of each.

    Args:
        model: Package folder, alias, name or tag in the store.
        texts: Texts, at least one.
        top_k: Number of classes for each text; None means 5, or all if there are fewer.
        as_json: Whether to print a JSON document: a list with the text and the predictions of each.
        without_effect: Name of each argument that does not go with texts -> whether it was given.

    Raises:
        OutputError: Something was given that does not go with texts.
        OtherInputsError: The model does not classify texts.
        TextError: A text is empty, too long, or not valid Unicode.
        TopKError: `top_k` is not between 1 and the number of classes.
        HubserveError: The model cannot be found, loaded or run.
    """
    given = [name for name, is_given in without_effect.items() if is_given]
    if given:
        raise OutputError(f"{given[0]} does not go with --text: give texts alone, or images alone")
    with open_package(model) as package, interruptible():
        answers = text_classifier(package).classify(texts, top_k=top_k)
    if as_json:
        print_json(
            [
                {"text": text, "predictions": [prediction.model_dump() for prediction in answer]}
                for text, answer in zip(texts, answers, strict=True)
            ]
        )
        return
    for text, answer in zip(texts, answers, strict=True):
        rows = [(found.label, f"{found.probability:.4f}", found.index) for found in answer]
        print_table(beginning(text), ("class", "probability", "index"), rows)
