import importlib
import re
import sys

import pytest
from click.testing import CliRunner
from rich.console import Console

from luxscale import guide
from luxscale.cli import main
from luxscale.errors import InputError

command = importlib.import_module("luxscale.cli.guide")


def luxscale(*arguments):
    return CliRunner().invoke(main, arguments)


def test_topics_are_the_pages_there_are():
    folder = importlib.resources.files("luxscale.guide")
    assert sorted(guide.topics()) == sorted(
        f.name.removesuffix(".md") for f in folder.iterdir() if ".md" in f.name
    )


@pytest.mark.parametrize("name", guide.topics())
def test_a_page_begins_with_its_title_and_what_works(name):
    title, blank, *rest = guide.page(name).splitlines()
    assert title == f"# {guide.topics()[name]}"
    assert blank == ""
    assert "```" in "\n".join(rest[:8]) or "| " in "\n".join(rest[:8])


def test_an_unknown_topic_names_the_nearest():
    with pytest.raises(InputError, match=r"no topic 'error'; did you mean 'errors'\?"):
        guide.page("error")


def test_a_word_of_no_title_names_the_pages_that_speak_of_it():
    with pytest.raises(InputError, match="'training'; pages that speak of it: ") as refused:
        guide.page("training")
    named = re.search("speak of it: (.*?);", str(refused.value))[1].split(", ")
    assert 1 <= len(named) <= 4
    counts = [len(re.findall(r"\btraining", guide.page(name), re.IGNORECASE)) for name in named]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] > 0
    assert "pages that speak of it: " in luxscale("guide", "train").stderr


@pytest.mark.parametrize("word", ["", "(", "xylophone"])
def test_a_word_of_no_page_lists_the_topics(word):
    with pytest.raises(InputError, match=f"no topic .{re.escape(word)}.; topics are from-python"):
        guide.page(word)


def test_without_a_topic_lists_them_all():
    result = luxscale("guide")
    assert result.exit_code == 0
    for (name, title), line in zip(guide.topics().items(), result.stdout.splitlines(), strict=True):
        assert line.split() == ["luxscale", "guide", name, *title.split()]


def test_elsewhere_than_in_a_terminal_prints_markdown():
    result = luxscale("guide", "run")
    assert result.exit_code == 0
    assert result.stdout == guide.page("run")


def test_an_unknown_topic_is_an_error_of_usage():
    result = luxscale("guide", "clusters")
    assert result.exit_code == 2
    assert "did you mean 'cluster'?" in result.stderr


def test_in_a_terminal_lays_the_page_out(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    command.guide.callback("errors")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "```" not in shown
    assert "luxscale validate catalog.zarr" in shown
    assert (
        "derivatives and information (luxscale guide understand)" in " ".join(shown.split()).lower()
    )
    assert max(map(len, shown.splitlines())) <= min(120, Console().width)
