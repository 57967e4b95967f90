"""The toy that meta's default rates are from: at these rates labels and weights find noisy labels."""

from helpers.scripts import load_script


rates = load_script("train_scripts/meta_rates.py")


def test_default_rates_correct_labels_and_tell_them_and_nothing_learnt_does_not():
    _, correction, corruption, told = rates.tried(rates.Setting(), seed=0, rounds=15)
    assert (correction, corruption) == (0, 0)
    assert told < 0.5  # rare classes begin with a low w, and get most noisy labels
    _, correction, corruption, _ = rates.tried(rates.Setting(label_rate=1), seed=0, rounds=15)
    assert correction > 0.8 and corruption < 0.1
    assert rates.tried(rates.Setting(weight_rate=0.1), seed=0, rounds=15)[3] > 0.9


def test_every_setting_is_a_row(capsys):
    assert rates.main(["--seeds", "0", "--rounds", "1"]) == 0
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(table) == 1 + len(rates.SETTINGS) and table[1].startswith("| nothing |")
