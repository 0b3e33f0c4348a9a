"""Results of captum, shap, lime and pytorch-grad-cam, made by these libraries here, taken over as explanations."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from models import NAMES, cnn, photo

import xai_widgets as xw
from xai_widgets import wire
from xai_widgets.facts import facts
from xai_widgets.plotting import blend

PIXELS = photo()
BATCH = torch.tensor(PIXELS).permute(2, 0, 1)[None] / 255


def predict(images):
    """Probabilities of pictures (n, H, W, 3) of 0 to 255."""
    with torch.no_grad():
        return cnn()(torch.tensor(np.asarray(images)).float().permute(0, 3, 1, 2) / 255).softmax(1).numpy()


@pytest.fixture(scope="module")
def captums():
    from captum.attr import IntegratedGradients

    ig = IntegratedGradients(cnn())
    return ig, ig.attribute(BATCH, target=2, n_steps=8)


@pytest.fixture(scope="module")
def shaps():
    import shap

    masker = shap.maskers.Image("blur(5,5)", PIXELS.shape)
    explainer = shap.Explainer(predict, masker, output_names=list(NAMES))
    return explainer(PIXELS[None], max_evals=60, batch_size=30, silent=True)


@pytest.fixture(scope="module")
def limes():
    from lime.lime_image import LimeImageExplainer

    explainer = LimeImageExplainer(random_state=0)
    # Labels from 1, as some segmenters give them: lime then never switches the last region.
    labels = 1 + np.kron(np.arange(12).reshape(3, 4), np.ones((16, 16), int))
    return explainer.explain_instance(
        PIXELS, predict, top_labels=2, num_samples=80, num_features=6,
        segmentation_fn=lambda image: labels,
    )  # fmt: skip


@pytest.fixture(scope="module")
def cams():
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model = cnn()
    with pytorch_grad_cam.GradCAM(model, [model[5]]) as cam:
        return cam, cam(BATCH, targets=[ClassifierOutputTarget(3)])


@pytest.fixture(scope="module")
def made(captums, shaps, limes, cams):
    return {
        "captum: IntegratedGradients": xw.Explanation.from_captum(
            captums[1], image=PIXELS, target=2, method=captums[0]
        ),
        "shap: PartitionExplainer": xw.Explanation.from_shap(shaps, target="dog", method="PartitionExplainer"),
        "lime: LimeImageExplainer": xw.Explanation.from_lime(limes, class_names=NAMES),
        "pytorch-grad-cam: GradCAM": xw.Explanation.from_gradcam(
            cams[1], image=PIXELS, target=3, method=cams[0], target_layer="5", class_names=NAMES,
            probabilities=predict(PIXELS[None])[0],
        ),
    }  # fmt: skip


def test_each_keeps_the_name_of_what_made_it(made):
    assert {name: e.method for name, e in made.items()} == {name: name for name in made}
    ours = {info.name for info in xw.methods()}
    gradcam = xw.Explanation.from_gradcam(np.ones((48, 64)), image=PIXELS, target=0, method="gradcam")
    assert gradcam.method == "pytorch-grad-cam: gradcam"
    assert gradcam.method not in ours
    assert not ours & set(made)
    already = xw.Explanation.from_captum(BATCH, image=PIXELS, target=0, method="captum: Saliency")
    assert already.method == "captum: Saliency"


def test_the_numbers_are_theirs(made, captums, shaps, limes, cams):
    ig = made["captum: IntegratedGradients"]
    assert np.abs(ig.values - captums[1][0].sum(0).numpy()).max() < 1e-6
    assert (ig.signed, ig.space, ig.target, ig.target_name) == (True, "logit", 2, "class 2")
    assert np.array_equal(ig.image, PIXELS)

    by_pixel = made["shap: PartitionExplainer"]
    assert np.abs(by_pixel.values - shaps.values[0, ..., 2].sum(-1)).max() < 1e-6
    answer = predict(PIXELS[None])[0]
    assert by_pixel.values.sum() + shaps.base_values[0, 2] == pytest.approx(answer[2], abs=1e-5)
    assert (by_pixel.signed, by_pixel.space, by_pixel.target, by_pixel.target_name) == (True, "probability", 2, "dog")

    lime, top = made["lime: LimeImageExplainer"], limes.top_labels[0]
    assert (lime.target, lime.target_name) == (int(top), NAMES[top])
    assert (lime.signed, lime.additive, lime.space) == (True, True, "probability")
    for region, weight in limes.local_exp[top]:
        if (limes.segments == region).any():  # lime counts from 0, these labels from 1
            assert np.allclose(lime.values[limes.segments == region], weight)
            assert np.allclose(lime.segment_values[lime.segments[limes.segments == region]], weight)
    assert lime.n_segments == 12
    assert np.ptp(lime.values) > 1e-4
    assert "lime kept the weights of" in lime.warnings[0]
    assert np.count_nonzero(lime.segment_values) <= 6

    cam = made["pytorch-grad-cam: GradCAM"]
    assert np.array_equal(cam.values, cams[1][0])
    assert (cam.signed, cam.space, cam.target_layer, cam.target_name) == (False, "logit", "5", NAMES[3])
    assert "stretched this map to 0–1" in cam.warnings[0]
    assert np.array_equal(cam.probabilities, answer)


def test_each_can_be_drawn_kept_shown_and_read(made, tmp_path):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    for name, explanation in made.items():
        again = xw.Explanation.load(explanation.save(tmp_path / "e.xai"))
        for field in ("values", "image", "segments", "probabilities", "segment_values"):
            assert np.array_equal(getattr(again, field), getattr(explanation, field)), (name, field)
        assert (again.method, again.params, again.target) == (name, explanation.params, explanation.target)
        ax = explanation.plot(outlines=True)
        assert name in ax.get_title()
        assert np.array_equal(ax.images[0].get_array(), blend(explanation))
        plt.close("all")
        page = explanation.to_html(tmp_path / "e.html").read_text(encoding="utf-8")
        assert f"According to {name}" in page
        text = explanation.summary()
        assert name in text
        assert "0 forward passes" not in text
        assert explanation._repr_mimebundle_()["text/plain"] == text
        assert repr(explanation).endswith("regions>")
        assert wire.heat(explanation, 1, name)["method"] == name
        chips = {chip["key"]: chip for chip in facts(explanation)}
        library = name.partition(":")[0]
        assert f"scores that {library} does not hand on" in str(chips["input"])
        assert np.array_equal(explanation.on_source(), explanation.values)
        assert explanation.versions[library]
    assert "%" not in made["lime: LimeImageExplainer"].summary()  # what the model answers is not known
    assert "%" in made["pytorch-grad-cam: GradCAM"].summary()


# ---- captum --------------------------------------------------------------------------------------------------------


def test_captum_unsigned_grey_normalised_and_many_bands():
    from captum.attr import Saliency

    saliency = Saliency(cnn()).attribute(BATCH.clone().requires_grad_(), target=0)
    made = xw.Explanation.from_captum(saliency, image=BATCH, target="cat", class_names=NAMES)
    assert (made.signed, made.target, made.method) == (False, 0, "captum")
    assert np.array_equal(made.image, PIXELS)
    normal = (BATCH - 0.5) / 0.25
    again = xw.Explanation.from_captum(
        saliency[0], image=normal, mean=[0.5] * 3, std=[0.25] * 3, target="cat", signed=True
    )
    assert again.signed
    assert (again.target, again.target_name) == (None, "cat")
    assert np.abs(again.image.astype(int) - PIXELS).max() <= 1
    grey = xw.Explanation.from_captum(saliency[0, :1], image=PIXELS[..., 0], target=(1, 0), class_names=NAMES)
    assert (grey.target, grey.target_name) == ([1, 0], "tiger cat rather than cat")
    five = np.random.default_rng(0).random((5, 48, 64), np.float32)
    bands = xw.Explanation.from_captum(five - 0.5, image=five, target=0)
    assert np.abs(bands.values - (five - 0.5).sum(0)).max() < 1e-5
    half = xw.Explanation.from_captum(saliency.half(), image=PIXELS, target=lambda row: row[0])
    assert half.target is None
    assert half.values.dtype == np.float32


@pytest.mark.parametrize(
    ("attribution", "about", "error", "words"),
    [
        ((BATCH, BATCH), {}, "InputError", r"tuple of 2 .* attribution\[0\]"),
        (torch.cat([BATCH, BATCH]), {}, "InputError", r"shape \(2, 3, 48, 64\): of 2 pictures.*attribution\[0\]"),
        (PIXELS / 255, {}, "InputError", r"moveaxis\(attribution, -1, 0\)"),
        (BATCH[..., ::4, ::4], {}, "InputError", r"12 × 16 .*48 × 64.*interpolate\(attribution, \(48, 64\)\)"),
        (BATCH[0, 0, 0], {}, "InputError", r"shape \(64,\); a picture's is \(C, H, W\)"),
        (BATCH * np.nan, {}, "InputError", "9,216 of 9,216 numbers of the attribution are NaN"),
        ("heat", {}, "InputError", "str holds no attribution"),
        (BATCH, {"image": None}, "ArgumentError", "image=…"),
        (BATCH, {"target": None}, "TargetError", "target=…"),
        (BATCH, {"target": 4, "class_names": NAMES}, "TargetError", "the model has 4"),
        (BATCH, {"space": "odds"}, "ArgumentError", "space='odds' must be"),
        (BATCH, {"probabilities": np.ones((2, 4))}, "InputError", r"shape \(2, 4\); it must hold one number a class"),
        (BATCH, {"probabilities": np.ones(3), "class_names": NAMES}, "TargetError", "4 class_names, 3 outputs"),
    ],
)
def test_captum_refused_with_the_line_to_type(attribution, about, error, words):
    with pytest.raises(getattr(xw, error), match=words):
        xw.Explanation.from_captum(attribution, **{"image": PIXELS, "target": 0, **about})


# ---- shap ----------------------------------------------------------------------------------------------------------


def test_shap_of_any_layout_is_the_same(shaps):
    whole = xw.Explanation.from_shap(shaps, target="bus")
    values = shaps.values[0]
    forms = {
        "one": shaps[0], "raw": values, "first": np.moveaxis(values, 2, 0), "batch": np.moveaxis(values, 2, 0)[None],
        "list": [values[..., i] for i in range(4)], "list of batches": [values[None, ..., i] for i in range(4)],
    }  # fmt: skip
    for name, form in forms.items():
        found = xw.Explanation.from_shap(form, target=3, image=PIXELS, class_names=NAMES)
        assert np.array_equal(found.values, whole.values), name
        assert found.target_name == "bus"
    single = xw.Explanation.from_shap(shaps[0, ..., 3], class_names=NAMES)
    assert np.array_equal(single.values, whole.values)
    assert (single.target, single.target_name) == (3, "bus")
    flat = xw.Explanation.from_shap(values[..., 0].sum(-1), image=PIXELS, target=0)
    assert (flat.space, flat.target_name) == ("logit", "class 0")


def test_shap_explained_outputs_are_found_by_name_not_by_place():
    import shap

    masker = shap.maskers.Image("blur(5,5)", PIXELS.shape)
    two = shap.Explainer(predict, masker, output_names=list(NAMES))(
        PIXELS[None], max_evals=20, batch_size=20, outputs=shap.Explanation.argsort.flip[:2], silent=True
    )
    names = list(two.output_names)
    likeliest = int(predict(PIXELS[None])[0].argmax())
    assert names[0] == NAMES[likeliest]
    assert [NAMES.index(name) for name in names] != [0, 1]
    for place, name in enumerate(names):
        for target in (NAMES.index(name), name):
            found = xw.Explanation.from_shap(two, target=target, class_names=NAMES)
            assert (found.target, found.target_name) == (NAMES.index(name), name)
            assert np.abs(found.values - two.values[0, ..., place].sum(-1)).max() < 1e-6
    other = next(name for name in NAMES if name not in names)
    with pytest.raises(xw.TargetError, match=f"No output is called '{other}'; there are"):
        xw.Explanation.from_shap(two, target=other)
    with pytest.raises(xw.TargetError, match=r"values of 2 outputs\. Say which: target="):
        xw.Explanation.from_shap(two)
    with pytest.raises(xw.TargetError, match="one of the outputs 0 to 1"):
        xw.Explanation.from_shap(two, target=2)


def test_shap_of_gradients_is_channels_first_and_of_logits():
    import shap

    explainer = shap.GradientExplainer(cnn(), torch.rand(4, 3, 48, 64))
    values = explainer.shap_values(BATCH, nsamples=4, rseed=0)
    found = xw.Explanation.from_shap(values, target=1, image=PIXELS, method=explainer)
    assert found.method == "shap: GradientExplainer"
    assert found.space == "logit"
    assert np.abs(found.values - values[0, ..., 1].sum(0)).max() < 1e-6


@pytest.mark.parametrize(
    ("values", "about", "error", "words"),
    [
        (np.ones((48, 64, 3)), {"image": None}, "ArgumentError", "no picture in this.*image=…"),
        (np.ones((2, 48, 64, 3)), {}, "InputError", r"values of 2 pictures.*explanation\[0\]"),
        (np.ones((40, 64, 3)), {}, "InputError", r"shape \(40, 64, 3\), the picture 48 × 64"),
        (np.ones((48, 64, 3)), {"target": None}, "TargetError", "target=…"),
        (np.ones((48, 64, 3, 4)), {"target": 1.5}, "TargetError", "outputs 0 to 3"),
        (np.full((48, 64, 3), np.inf), {}, "InputError", "NaN or infinite"),
    ],
)
def test_shap_refused_with_the_line_to_type(values, about, error, words):
    with pytest.raises(getattr(xw, error), match=words):
        xw.Explanation.from_shap(values, **{"image": PIXELS, "target": 0, **about})


def test_shap_keeps_what_is_no_picture():
    import shap

    kept = shap.Explanation(np.ones((1, 48, 64, 3)), data=np.full((1, 48, 64, 3), -2.5))
    with pytest.raises(xw.InputError, match=r"keeps what the model got, .* image=…"):
        xw.Explanation.from_shap(kept, target=0)
    assert xw.Explanation.from_shap(kept, target=0, image=PIXELS).values.max() == 3


# ---- lime and pytorch-grad-cam -------------------------------------------------------------------------------------


def test_lime_by_label_and_refused(limes):
    second = int(limes.top_labels[1])
    found = xw.Explanation.from_lime(limes, label=NAMES[second], class_names=NAMES)
    assert found.target == second
    weights = dict(limes.local_exp[second])
    for region in np.unique(limes.segments):
        assert np.allclose(found.values[limes.segments == region], weights.get(region, 0))
    third = next(i for i in range(4) if i not in limes.local_exp)
    for wrong in (third, (0, 1), "mouse"):
        with pytest.raises(xw.TargetError, match=r"lime has explained the classes .*label="):
            xw.Explanation.from_lime(limes, label=wrong)
    with pytest.raises(xw.InputError, match="48 × 64 rows and columns, the picture 24 × 32"):
        xw.Explanation.from_lime(limes, image=PIXELS[::2, ::2])
    with pytest.raises(xw.ArgumentError, match="ndarray is no explanation of a picture by lime"):
        xw.Explanation.from_lime(PIXELS)


def test_gradcam_refused_with_the_line_to_type(cams):
    overlay = np.zeros((48, 64, 3))
    for cam, about, words in (
        (overlay, {}, r"shape \(48, 64, 3\): of 48 pictures"),
        (np.ones((2, 48, 64)), {}, r"of 2 pictures. Pass that of one: map\[0\]"),
        (np.ones((1, 1, 48, 64)), {}, r"\(H, W\) or \(1, H, W\)"),
        (cams[1], {"image": photo(24, 32)}, "48 × 64 rows and columns, the picture 24 × 32"),
    ):
        with pytest.raises(xw.InputError, match=words):
            xw.Explanation.from_gradcam(cam, **{"image": PIXELS, "target": 0, **about})
    assert xw.Explanation.from_gradcam(cams[1] * 5, image=PIXELS, target=0).warnings == ()
    empty = xw.Explanation.from_gradcam(cams[1] * 0, image=PIXELS, target=0)
    assert empty.warnings == ("The map is the same everywhere: nothing was found that matters here.",)


def test_reading_a_kept_result_loads_no_torch():
    code = (
        "import sys, numpy as np, xai_widgets as xw;"
        "xw.Explanation.from_gradcam(np.ones((8, 8)), image=np.zeros((8, 8, 3), np.uint8), target=0);"
        "print(sorted({'torch', 'shap', 'captum', 'lime', 'anywidget'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
