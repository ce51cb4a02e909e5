"""Files of figures: written whole, the same bytes each time, and nothing left open."""

from pathlib import Path

from matplotlib import pyplot as plt

from kdlm.figures import style


def test_a_saved_figure_is_closed_and_its_files_are_the_same_bytes(tmp_path: Path) -> None:
    style.apply()
    before, files = plt.get_fignums(), []
    for name in ("one", "other"):
        figure, axes = plt.subplots()
        axes.plot([0, 1], [0, 1])
        style.save(figure, tmp_path / name)
        files.append([(tmp_path / f"{name}{suffix}").read_bytes() for suffix in (".svg", ".png")])
    assert plt.get_fignums() == before
    assert files[0] == files[1]
