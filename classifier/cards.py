"""Model cards: what is known of a bundle, for people, as README.md in it."""

from typing import Any

from classifier.bundle import BYTES, Bundle

# Top-1 on ImageNet's validation photos that Keras publishes of its MobileNetV2, by alpha, at 224 pixels.
PUBLISHED = {0.35: 60.3, 0.5: 65.4, 0.75: 69.8, 1.0: 71.8, 1.3: 74.4, 1.4: 75.0}
SCALES = {
    "symmetric": "scaled to -1 to 1",
    "unit": "scaled to 0 to 1",
    "imagenet": "less the mean of ImageNet's, by their standard deviation, channel by channel",
    "none": "0 to 255",
    BYTES: "as bytes, over the whole range of the model's integers",
}


def write(bundle: Bundle) -> str:
    """Return a model card, Markdown, of what bundle.json tells."""
    sections = {
        "Model": _model(bundle),
        "Intended use": _use(bundle),
        "Data": _data(bundle.about),
        "Metrics": _metrics(bundle.about),
        "Limits": _limits(bundle),
    }
    parts = [f"## {title}\n\n{text}\n" for title, text in sections.items()]
    return "\n".join([f"# {bundle.backbone}\n", *parts])


def facts(bundle: Bundle) -> dict[str, Any]:
    """Return what the model is, what it takes and how it was made, in words."""
    spec, about = bundle.preprocessing, bundle.about
    rows = {
        "backbone": bundle.backbone,
        "origin": about.get("origin"),
        "labels": about.get("classes"),
        "input": f"{spec.size} x {spec.size} pixels, RGB, {SCALES.get(bundle.scaling, bundle.scaling)}",
        "crop": f"centre square of {spec.crop:g} of the short side, resized bicubically",
        "softmax": "taken behind the model" if bundle.softmax else None,
        "quantization": about.get("quantization", "none: 32-bit floats"),
        "made with": about.get("made_with", "not by install_model: installed as it was"),
    }
    return {name: value for name, value in rows.items() if value is not None}


def _model(bundle: Bundle) -> str:
    rows = {**facts(bundle), "digest": bundle.digest}
    lines = [f"| {name} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def _use(bundle: Bundle) -> str:
    return (
        f"To say which one of {bundle.about.get('classes')} labels fits a photo best. People look at its answers and "
        "correct them; no decision about persons should rest on it."
    )


def _data(about: dict[str, Any]) -> str:
    if _is_keras_own(about):
        return (
            "Trained by its authors on ImageNet (ILSVRC 2012): 1.28 million photos from the web, of 1,000 kinds of "
            "animals, plants and things, about 120 of them breeds of dogs."
        )
    return "Not known here: who trained it can tell, with `install_model --card FILE.md`."


def _metrics(about: dict[str, Any]) -> str:
    told = []
    if _is_keras_own(about):
        told.append(f"Top-1 on ImageNet's validation photos, as Keras publishes it: {PUBLISHED[about['alpha']]} %.")
    if "differs_from_keras" in about:
        told.append(
            f"{'Before quantization, its' if 'agreement' in about else 'Its'} probabilities differ from those of the "
            f"model that it was made of by {about['differs_from_keras']:.1e} at most, on images of noise."
        )
    if agrees := about.get("agreement"):
        told.append(
            f"Quantized, it gives the same best label as before on {agrees['top_1']:.1%} of the {agrees['photos']} "
            f"photos that it was calibrated with; the confidence differs by {agrees['confidence']:.3f} on average."
        )
    return "\n\n".join(told) or "None are known."


def _limits(bundle: Bundle) -> str:
    told = [
        "It answers with one of its labels, whatever the photo shows: what it was not trained on gets a wrong one, "
        "often, but not always, with a low confidence.",
        "Only the middle of a photo is looked at." if bundle.preprocessing.crop < 1 else "",
        "Confidences are no measured probabilities of being right.",
        "Quantization costs some accuracy, more on photos unlike those it was calibrated with."
        if "agreement" in bundle.about
        else "",
    ]
    return "\n".join(f"- {limit}" for limit in told if limit)


def _is_keras_own(about: dict[str, Any]) -> bool:
    return about.get("origin") == "keras.applications, imagenet" and about.get("alpha") in PUBLISHED
