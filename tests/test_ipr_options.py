"""What IPR can do beyond its paper, against slow literal versions, and what becomes of runs made before it could."""

import json
import logging
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ipr_by_the_paper as paper
from helpers.made_data import CLASSES, made_split, tiny_config, tiny_model
from helpers.suite_checks import Stopped, _StopAt
from helpers.suite_methods import make_trainer, settings
from safetensors.torch import load_file, save_file
from test_ipr import StopAfter, clip, make, rows

from hf_ambiser.data.audio import decode
from hf_ambiser.label_analysis.corrected import EpochAgreement, pseudo_label_agreement
from hf_ambiser.methods.ipr import IPRArguments, IPRTrainer
from hf_ambiser.methods.ipr.figures import epochs_lost, where_figure_3_fails
from hf_ambiser.methods.ipr.trainer import REFRESHES
from hf_ambiser.models import PrototypeForAudioClassification
from hf_ambiser.training import checkpoints
from hf_ambiser.training.collator import AMBIGUOUS, AUGMENTED, LABELLED
from hf_ambiser.training.losses import instance_contrast
from hf_ambiser.training.trainer import STATE_FILE


ROOT = Path(__file__).parent.parent


def centred_config():
    config = tiny_config()
    config.center_embeddings = True
    return config


def labelled_clips(n=20):
    made = made_split(n, 0, name="a")
    return [(torch.from_numpy(decode(row["audio"]["bytes"])), row["label"]) for row in made]


@pytest.mark.parametrize(
    "changes",
    [
        {"prototype_movers": "all"},
        {"prototype_movers": "all", "prototype_update": "proportional", "center": True},
        {"center": True},
        {"contrastive": "instance_all_views", "mu": 2.0},
        {"distribution_alignment": True},
        {"distribution_alignment": True, "center": True, "prototype_update": "prototype_agreement"},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_every_option_is_its_literal_version_step_by_step(tmp_path, changes):
    changes = dict(changes)
    center = changes.pop("center", False)
    means = []

    def keep_mean(trainer):
        state = trainer.method_state.get("mean_soft_label")
        means.append(None if state is None else state.tolist())

    trainer = make(tmp_path, config=centred_config() if center else None, gamma=0.9, **changes)
    step_taken = trainer.step_taken
    if "mean_soft_label" in trainer.method_state:  # far from the class shares, so that alignment changes labels
        trainer.method_state["mean_soft_label"].copy_(torch.tensor([0.4, 0.3, 0.2, 0.1]))
    keep_mean(trainer)
    trainer.step_taken = lambda: (step_taken(), keep_mean(trainer))
    trainer.add_callback(StopAfter(3))
    trainer.train()
    args, config = trainer.args, trainer.bare_model().config
    everything = labelled_clips()
    shares = [sum(y == c for _, y in everything) / 20 for c in range(4)]
    moved_by_labelled, relabelled = 0, 0
    assert [seen["epoch"] for seen in trainer.steps] == [0, 0, 0, 1, 1, 1, 2, 2, 2]

    for t, seen in enumerate(trainer.steps):
        if seen["epoch"] == 0:
            continue
        batch, model, head = seen["batch"], paper.Model(seen["model"]), seen["model"].head
        if t % 3 == 0:  # class means of the model as the last epoch left it: after the warm-up, and renewed after it
            centre = paper.mean_embedding(model, everything) if center else None
            if center:
                torch.testing.assert_close(head.center.double(), centre, rtol=0, atol=2e-6)
                assert float(centre.norm()) > 0.1
            expected = paper.class_means(model, everything, 4, centre)
            for p, mean in zip(head.prototypes.double(), expected, strict=True):
                torch.testing.assert_close(p, mean, rtol=0, atol=5e-6)
        literal = paper.Settings(
            args.alpha, args.mu, args.gamma, args.contrast_temperature, config.prototype_temperature,
            args.contrastive, args.prototype_update, args.prototype_movers,
            head.center.double() if center else None,
            shares if args.distribution_alignment else None, means[t],
        )  # fmt: skip
        labelled = [(clip(batch, i), int(batch["index"][i]) % 4) for i in rows(batch, LABELLED)]
        clean, copies = rows(batch, AMBIGUOUS), rows(batch, AUGMENTED)
        pairs = [(clip(batch, i), clip(batch, j)) for i, j in zip(clean, copies, strict=True)]
        beta = paper.ramp(seen["epoch"], 5, 0.5, 10)
        ours = paper.step(model, labelled, pairs, list(head.prototypes.double()), beta, literal)

        assert seen["loss"] == pytest.approx(float(ours.loss.detach()), rel=1e-5)
        names = list(seen["gradient"])
        gradients = torch.autograd.grad(ours.loss, [model.parameters[name] for name in names])
        for name, expected in zip(names, gradients, strict=True):
            scale = float(expected.abs().max())
            torch.testing.assert_close(
                seen["gradient"][name].double(), expected, rtol=0, atol=1e-4 * scale + 1e-8, msg=name
            )
        for i, z, soft in zip(batch["index"][clean].tolist(), ours.pseudo, ours.soft, strict=True):
            assert seen["table"]["target"][i].tolist() == [float(c == z) for c in range(4)]
            assert seen["table"]["soft_label"][i].tolist() == pytest.approx(soft, abs=1e-5)
        for p, expected in zip(seen["prototypes"].double(), ours.prototypes, strict=True):
            torch.testing.assert_close(p, expected, rtol=0, atol=3e-6)
        moved_by_labelled += sum(ours.movers) > 0 and args.prototype_movers == "all"
        if args.distribution_alignment:
            mean = np.mean(ours.unaligned, axis=0)
            assert means[t + 1] == pytest.approx(0.99 * np.array(means[t]) + 0.01 * mean, abs=1e-6)
            plain = [max(range(4), key=s.__getitem__) for s in ours.unaligned]
            relabelled += plain != ours.pseudo
    assert (moved_by_labelled > 0) == (args.prototype_movers == "all")
    assert (relabelled > 0) == args.distribution_alignment


def test_alignment_gives_a_class_that_was_given_too_often_to_others(tmp_path):
    trainer = make(tmp_path, distribution_alignment=True)
    assert trainer.method_state["mean_soft_label"].tolist() == pytest.approx([0.25] * 4)
    soft = torch.tensor([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
    torch.testing.assert_close(trainer.aligned(soft), soft)  # at the beginning it changes nothing
    trainer.method_state["mean_soft_label"].copy_(torch.tensor([0.7, 0.1, 0.1, 0.1]))
    got = trainer.aligned(soft)
    for row, before in zip(got.tolist(), soft.tolist(), strict=True):
        assert row == pytest.approx(paper.aligned(before, [0.25] * 4, [0.7, 0.1, 0.1, 0.1]), abs=1e-6)
    assert got.argmax(dim=1).tolist() == [1, 3]


def test_contrast_with_all_views_leaves_out_only_the_anchor_itself():
    x = torch.nn.functional.normalize(torch.randn(7, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    anchors, copies = x[:3], x[3:6]
    bank = torch.cat([anchors, copies])
    got = instance_contrast(anchors, bank, torch.arange(3, 6), 0.1, torch.arange(3))
    expected = paper.contrast_instance_all_views(list(anchors.double()), list(copies.double()), 0.1)
    assert float(got.mean()) == pytest.approx(float(expected), rel=1e-5)
    # A pair alone has nothing to tell: its copy is all there is to choose from.
    alone = instance_contrast(x[:1], x[:2], torch.tensor([1]), 0.1, torch.tensor([0]))
    assert alone.tolist() == [0.0]


# ---- gamma by the rate ---------------------------------------------------------------------------------------------


def test_gamma_follows_the_encoders_rate_in_every_step(tmp_path):
    trainer = make(
        tmp_path, learning_rate=2e-3, gamma=0.99, gamma_reference_rate=1e-3, lr_scheduler_type="linear",
        prototype_refresh="never",
    )  # fmt: skip
    gammas = []
    gamma = trainer._gamma
    trainer._gamma = lambda: gammas.append(gamma()) or gammas[-1]
    trainer.train()
    # 15 steps from 2e-3 to 0; the first three are the warm-up's, whose prototypes are class means.
    rates = [2e-3 * (1 - step / 15) for step in range(3, 15)]
    assert gammas == pytest.approx([math.exp(math.log(0.99) * rate / 1e-3) for rate in rates])
    assert gammas[0] < 0.99 < gammas[-1] < 1


def test_a_frozen_encoder_has_no_rate_to_follow(tmp_path):
    model = tiny_model()
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="gamma_reference_rate=0.001 follows .* frozen"):
        make_with(tmp_path, model, gamma_reference_rate=1e-3)


def make_with(folder, model, **changes):
    from helpers.made_data import extractor, training_set
    from test_ipr import arguments

    data = training_set(IPRTrainer, 20, 10)
    return IPRTrainer(model, arguments(folder, **changes), data, feature_extractor=extractor(model))


# ---- the centre ----------------------------------------------------------------------------------------------------


def test_a_centred_model_answers_the_same_when_it_is_loaded_and_an_old_one_has_centre_zero(tmp_path):
    trainer = make(tmp_path / "run", config=centred_config())
    trainer.epoch_finished(0)
    model, wave = trainer.bare_model().eval(), torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    assert float(model.head.center.norm()) > 0.1
    trainer.save_model(str(tmp_path / "model"))
    again = PrototypeForAudioClassification.from_pretrained(tmp_path / "model").eval()
    assert torch.equal(again.head.center, model.head.center)
    assert torch.equal(again(wave).prototype_similarity, model(wave).prototype_similarity)

    plain = tiny_model()
    assert "head.center" not in plain.state_dict()
    plain.save_pretrained(tmp_path / "plain")
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    del config["center_embeddings"]  # as models were saved before
    (tmp_path / "plain" / "config.json").write_text(json.dumps(config))
    before = PrototypeForAudioClassification.from_pretrained(tmp_path / "plain").eval()
    assert before.head.center is None and before.config.center_embeddings is False
    torch.testing.assert_close(before(wave).prototype_similarity, plain.eval()(wave).prototype_similarity)
    centred = PrototypeForAudioClassification.from_pretrained(tmp_path / "plain", center_embeddings=True).eval()
    assert not centred.head.center.any()
    torch.testing.assert_close(centred(wave).prototype_similarity, before(wave).prototype_similarity)


def test_the_centre_stays_float32_in_a_bfloat16_model():
    model = tiny_model(centred_config()).to(torch.bfloat16)
    assert model.head.center.dtype == model.head.prototypes.dtype == torch.float32
    assert model.head.dense.weight.dtype == torch.bfloat16


# ---- Figure 3 ------------------------------------------------------------------------------------------------------


def test_the_caption_of_figure_3_says_where_the_papers_finding_fails(tmp_path):
    def row(epoch, prototype, classifier):
        return EpochAgreement(epoch, 40, prototype, classifier, 0.5, 0.5, (0.5, 0.5), (0.5, 0.5))

    good = [row(4, 0.5, 0.4), row(5, 0.6, 0.6)]
    assert epochs_lost(good) == 0 and where_figure_3_fails(good) == ""
    bad = [*good, row(6, 0.55, 0.575)]
    said = where_figure_3_fails(bad)
    assert "does not hold after 1 of 3 epochs" in said
    assert "55.0 % of the prototypes' labels and 57.5 % of the classifier's" in said


def test_the_caption_is_computed_from_the_run(tmp_path):
    """The run of the recorded card: the finding fails in it; its own card was made before cards said so."""
    record, folder = ROOT / "model_cards" / "prototype" / "run", tmp_path / "run"
    shutil.copytree(record, folder)
    rows = pseudo_label_agreement(folder)
    lost = sum(row.classifier > row.prototype for row in rows)
    assert 0 < lost <= len(rows)
    (tmp_path / "figures").mkdir()
    caption = IPRTrainer.draw_figures(folder, tmp_path / "figures", list(CLASSES))["pseudo_label_agreement.png"]
    assert "does not hold" not in caption
    with (folder / "arguments.yaml").open("a") as stream:
        stream.write("prototype_refresh: never\n")
    caption = IPRTrainer.draw_figures(folder, tmp_path / "figures", list(CLASSES))["pseudo_label_agreement.png"]
    assert caption.endswith(where_figure_3_fails(rows)) and f"{lost} of {len(rows)} epochs" in caption


# ---- runs that were made before prototypes were renewed ------------------------------------------------------------


def stopped_run(folder, steps=4, **changes):
    """A run with a checkpoint in its second epoch, after which it was stopped."""
    chosen = settings("ipr", "resume", save_strategy="steps", save_steps=steps, **changes)
    trainer = make_trainer("ipr", folder, **chosen)
    trainer.add_callback(_StopAt(steps + 1))
    with pytest.raises(Stopped):
        trainer.train()
    return checkpoints.last_complete(folder), chosen


def made_before(checkpoint):
    """Take out of a checkpoint what checkpoints of earlier versions do not have."""
    state = {name: tensor.clone() for name, tensor in load_file(checkpoint / STATE_FILE).items()}
    assert state.pop(REFRESHES) == 0
    save_file(state, checkpoint / STATE_FILE)
    checkpoints.mark_complete(checkpoint)


def test_a_run_from_before_goes_on_without_renewal_and_says_so(tmp_path, caplog):
    checkpoint, chosen = stopped_run(tmp_path / "old", prototype_refresh="never")
    whole = make_trainer("ipr", tmp_path / "whole", **chosen)
    whole.train()
    made_before(checkpoint)
    again = make_trainer("ipr", tmp_path / "old", **{**chosen, "prototype_refresh": "epoch"})
    with caplog.at_level(logging.WARNING):
        again.train(resume_from_checkpoint=str(checkpoint))
    assert "goes on so (prototype_refresh: never)" in caplog.text
    assert again.args.prototype_refresh == "never" and int(again.method_state[REFRESHES]) == 0
    assert torch.equal(again.prototypes, whole.prototypes)


@pytest.mark.parametrize("begun,now", [("epoch", "never"), ("never", "epoch")])
def test_a_run_does_not_change_its_rule_on_the_way(tmp_path, begun, now):
    checkpoint, chosen = stopped_run(tmp_path, prototype_refresh=begun)
    again = make_trainer("ipr", tmp_path, **{**chosen, "prototype_refresh": now})
    with pytest.raises(ValueError, match=f"prototype_refresh='{now}', but .* '{begun}'"):
        again.train(resume_from_checkpoint=str(checkpoint))


def test_a_checkpoint_without_a_state_that_an_argument_needs_is_refused_by_name(tmp_path):
    checkpoint, chosen = stopped_run(tmp_path)
    again = make_trainer("ipr", tmp_path, **chosen, distribution_alignment=True)
    with pytest.raises(ValueError, match=r"lacks the method's state \['mean_soft_label'\].*other arguments"):
        again.train(resume_from_checkpoint=str(checkpoint))


@pytest.mark.parametrize(
    "field,value,words",
    [
        ("prototype_refresh", "always", "not one of"),
        ("prototype_movers", "labelled", "not one of"),
        ("contrastive", "both", "instance_all_views"),
        ("gamma_reference_rate", 0.0, "must be above 0"),
    ],
)
def test_bad_arguments_are_named(tmp_path, field, value, words):
    with pytest.raises(ValueError, match=f"{field}={value!r}.*{words}"):
        IPRArguments(str(tmp_path), use_cpu=True, **{field: value})
