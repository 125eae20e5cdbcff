"""The whole page: it loads nothing, says what the comparison says, and shows nothing that is not there."""

import base64
import hashlib
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cod_cli.report.comparison import Comparison, compare
from cod_cli.report.page.document import page
from cod_cli.report.page.picture import picture
from cod_cli.report.results import Evidence, read_evidence
from tests.report.evidence_of import predicted, scored_run, sweep_json, trained, with_pairs
from tests.report.page.page_of import numbers, read_page

SHOTS = {8: [0.60, 0.55, 0.62, 0.58], 16: [0.63, 0.60, 0.66, 0.61]}
COD = {8: [0.70, 0.66, 0.71, 0.65], 16: [0.62, 0.63, 0.65, 0.60]}
EVERYTHING = [
    "In words",
    "The pairs",
    "Accuracy and agreement",
    "Differences",
    "Numbers",
    "Which class is taken for which",
    "What a student took",
    "Calibration",
    "How good the counterfactuals are",
    "How close to the teacher's boundary",
    "What the paper published",
    "Commands",
]


def full(folder: Path) -> Path:
    for k in SHOTS:
        for seed, (one, two) in enumerate(zip(SHOTS[k], COD[k], strict=True)):
            arms = {"kd-shots": one, "kd-cod": two, "pool-queries": 0.8}
            run = scored_run(folder / f"k{k}-s{seed}", arms, seed=seed, k=k)
            with_pairs(run, [("a dull film", "a fine film"), (f"bad {seed}", f"good {seed}")])
            trained(run, "kd-cod", seed=seed, mix="cod", settings={"student": "org/small", "mix": "cod"})
            predicted(run, {"kd-cod": [0, 1, 1, 0], "teacher": [0, 1, 0, 0]}, [0, 1, 0, 1])
    sweep_json(folder, "kd-shots", other=["pool-queries"])
    return folder


def made(folder: Path, **options: str) -> tuple[Evidence, Comparison, str]:
    evidence = read_evidence(folder)
    comparison = compare(evidence, **options)
    return evidence, comparison, page(evidence, comparison)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evidence, Comparison, str]:
    return made(full(tmp_path_factory.mktemp("runs") / "my <runs> & 'more'"))


def test_every_part_is_there_in_order_and_can_be_reached_from_the_top(
    whole: tuple[Evidence, Comparison, str],
) -> None:
    root = read_page(whole[2])
    assert root.titles() == EVERYTHING
    ids = [node.attributes["id"] for node in root if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    assert [link.text for link in root.all("nav")[0].all("a")] == EVERYTHING
    assert {link.attributes["href"] for link in root.all("a")} <= {f"#{each}" for each in ids}


def test_the_page_loads_nothing_from_elsewhere(whole: tuple[Evidence, Comparison, str]) -> None:
    root = read_page(whole[2])
    assert {node.tag for node in root}.isdisjoint({"link", "img", "iframe", "object", "embed", "base", "video", "use"})
    assert not any({"src", "srcset", "style", "action", "xlink:href"} & node.attributes.keys() for node in root)
    assert not any(name.startswith("on") for node in root for name in node.attributes)
    for code in (*root.all("style"), *root.all("script")):
        assert not re.search(r"url\(|@import|https?:|//\w+\.|fetch|import\(|XMLHttp", code.text)


def test_only_the_pages_own_style_and_script_may_run(whole: tuple[Evidence, Comparison, str]) -> None:
    root = read_page(whole[2])
    (policy,) = [node.attributes["content"] for node in root.all("meta") if "http-equiv" in node.attributes]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    (style,), (script,) = root.all("style"), root.all("script")
    hashes = [base64.b64encode(hashlib.sha256(code.text.encode()).digest()).decode() for code in (style, script)]
    assert rules["default-src"] == "'none'"
    assert (rules["style-src"], rules["script-src"]) == (f"'sha256-{hashes[0]}'", f"'sha256-{hashes[1]}'")


def test_every_number_of_the_table_is_the_comparisons(whole: tuple[Evidence, Comparison, str]) -> None:
    _, comparison, html = whole
    table = read_page(html).section("Numbers").table()
    headings = {"acc %": "accuracy", "F1 %": "macro_f1", "MCC": "mcc", "KL nats": "kl", "ECE": "ece", "Brier": "brier"}
    assert len(table) == len(comparison.cells) + 2
    for cell in comparison.cells:
        line = table[f"k = {cell.k}: {cell.arm}{' ‡' if cell.other_budget else ''}"]
        assert numbers(line["seeds"]) == [cell.n]
        for heading, metric in headings.items():
            found = cell.metrics()[metric]
            assert numbers(line[heading]) == [found.mean, found.std]
    assert table["teacher"]["acc %"].text == "90.0"
    assert table["majority"]["MCC"].text == "0.000"
    assert table["k = 8: kd-cod"]["acc %"].text == "68.0 ± 2.9"


def test_every_test_is_the_comparisons(whole: tuple[Evidence, Comparison, str]) -> None:
    _, comparison, html = whole
    table = read_page(html).section("Differences").table()
    assert len(table) == len(comparison.contrasts) == 4
    for c in comparison.contrasts:
        line = table[f"{c.task}, {c.split}, k = {c.k}: {c.arm}{' ‡' if 'budget' in c.verdict else ''}"]
        assert c.difference is not None
        assert c.difference.interval is not None
        assert numbers(line["difference, points"]) == [c.difference.mean]
        assert numbers(line["95% interval"]) == [c.difference.interval.low, c.difference.interval.high]
        assert (numbers(line["seeds"]), line["against"].text) == ([4], "kd-shots")
        assert numbers(line["p, Holm"]) == ([] if c.adjusted is None else [c.adjusted])
        assert line["in words"].text.startswith(c.verdict)


def test_verdicts_stand_in_words_with_their_numbers(whole: tuple[Evidence, Comparison, str]) -> None:
    _, comparison, html = whole
    groups = {node.all("dt")[0].text: node.all("dd") for node in read_page(html).section("In words").all("div")}
    assert list(groups) == ["Better 1", "No difference shown 1", "Not counted 2"]
    (better,) = groups["Better 1"]
    (won,) = [c for c in comparison.contrasts if c.verdict == "better"]
    assert won.difference is not None
    assert won.difference.interval is not None
    assert numbers(better)[:3] == [won.difference.mean, won.difference.interval.low, won.difference.interval.high]
    assert better.text.startswith("+9.2kd-cod against kd-shots at k = 8")


def test_the_charts_show_the_means_and_the_teacher(whole: tuple[Evidence, Comparison, str]) -> None:
    section = read_page(whole[2]).section("Accuracy and agreement")
    says = [title.text for title in section.all("title")]
    assert "kd-cod, k = 8: 68.0" in says
    assert "kd-shots, k = 16: 62.5" in says
    assert "teacher 90.0" in section.text


def test_reliability_pools_the_seeds_of_an_arm(whole: tuple[Evidence, Comparison, str]) -> None:
    section = read_page(whole[2]).section("Calibration")
    assert [caption.text for caption in section.all("figcaption")] == ["teacher", "kd-cod"]
    assert [node.text for node in section.all("h3")] == ["sst2, validation, k = 16"]
    # Four seeds with four rows each, of which the student has two right; the teacher is shown once.
    assert [title.text for title in section.all("circle")] == [
        "confidence 80.0%, right 75.0%, 4 rows",
        "confidence 80.0%, right 50.0%, 16 rows",
    ]


def test_an_arm_leads_to_the_commands_that_made_it(whole: tuple[Evidence, Comparison, str]) -> None:
    root = read_page(whole[2])
    links = root.section("Numbers").all("a")
    assert [link.text for link in links] == ["kd-cod", "kd-cod"]
    target = {node.attributes["id"]: node for node in root.all("details") if "id" in node.attributes}
    script = target[links[1].attributes["href"][1:]].all("pre")[0].text
    assert [line.split()[1] for line in script.splitlines() if line][:5] == [
        "sample",
        "counterfact",
        "label",
        "distill",
        "eval",
    ]
    assert script.count("k16-s") == 20
    assert root.section("Commands").all("pre")[0].text == "cod sweep grid.yaml"


def test_a_pair_that_stands_in_many_runs_is_shown_once(whole: tuple[Evidence, Comparison, str]) -> None:
    pairs = read_page(whole[2]).section("The pairs")
    assert len(pairs.all("li")) == 5
    assert pairs.all("output")[0].text == "5 pairs"


def test_the_pairs_are_measured_by_class_too(whole: tuple[Evidence, Comparison, str]) -> None:
    table = read_page(whole[2]).section("How good the counterfactuals are").table()
    assert {name: cell.text for name, cell in table["accepted"].items()} == {
        "": "accepted",
        "sst2": "5",
        "to positive": "5",
    }


def test_margins_are_those_of_the_teacher_on_shots_and_counterfactuals(
    whole: tuple[Evidence, Comparison, str],
) -> None:
    section = read_page(whole[2]).section("How close to the teacher's boundary")
    assert [caption.text for caption in section.all("figcaption")] == ["sst2: 2 shots", "sst2: 2 counterfactuals"]


def test_the_folders_name_is_text(whole: tuple[Evidence, Comparison, str]) -> None:
    root = read_page(whole[2])
    assert root.all("h1")[0].text == "my <runs> & 'more'"
    assert root.all("head")[0].all("title")[0].text.startswith("my <runs> & 'more'")


def test_the_page_repeats_to_the_byte(whole: tuple[Evidence, Comparison, str]) -> None:
    assert page(whole[0], whole[1]) == whole[2]


HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>\x1b[2J\u202e&amp;"


def test_names_from_elsewhere_stay_text(tmp_path: Path) -> None:
    for seed in (0, 1):
        arms = {"kd-shots": 0.5, HOSTILE: 0.6 + seed / 10}
        run = scored_run(tmp_path / f"s{seed}", arms, seed=seed, task=HOSTILE, mix="cod")
        with_pairs(run, [(f"bad {HOSTILE}", f"good {HOSTILE}")], task=HOSTILE, generator=HOSTILE)
    html = made(tmp_path)[2]
    root = read_page(html)
    assert len(root.all("script")) == 1
    assert root.all("img") == []
    assert not {"\x1b", "\u202e"} & set(html)
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\x202e")
    assert f"k = 16: {shown}" in root.section("Numbers").table()
    assert root.all("li")[0].attributes["data-generator"] == shown
    assert root.all("li")[0].all("p")[0].text == f"bad good {shown}"


def test_f1_stands_there_class_by_class_where_it_is_known(tmp_path: Path) -> None:
    for seed, low in enumerate((0.2, 0.4)):
        f1 = {"<b>no</b>": low, "yes": 0.8}
        scored_run(tmp_path / f"s{seed}", {"kd-cod": 0.5}, seed=seed, f1=f1)
        scored_run(tmp_path / f"older-s{seed}", {"kd-shots": 0.5}, seed=seed)
    table = read_page(made(tmp_path)[2]).section("F1 by class").table()
    assert numbers(table["k = 16: kd-cod"]["<b>no</b>"]) == pytest.approx([0.3, 0.02**0.5])
    assert table["k = 16: kd-cod"]["yes"].text == "80.0 ± 0.0"
    assert list(table) == ["k = 16: kd-cod"]


def test_agreement_at_the_boundary_is_told_by_who_wrote_the_pairs(tmp_path: Path) -> None:
    for seed, (one, two) in enumerate([(0.2, 0.5), (0.4, 0.9)]):
        by = {"editor": one, "openai:m": two}
        scored_run(tmp_path / f"s{seed}", {"kd-cod": 0.5}, seed=seed, boundary_agreement=0.4, boundary_by_generator=by)
    table = read_page(made(tmp_path)[2]).section("Agreement at the boundary").table()
    line = table["k = 16: kd-cod"]
    assert numbers(line["editor, %"]) == pytest.approx([0.3, 0.02**0.5])
    assert line["openai:m, %"].text == "70.0 ± 28.3"


def parts(folder: Path) -> list[str]:
    return read_page(made(folder)[2]).titles()


def test_scores_alone_show_neither_texts_nor_commands(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        scored_run(tmp_path / f"s{seed}", {"kd-shots": 0.5, "kd-cod": 0.6 + seed / 50}, seed=seed, task="mine")
    assert parts(tmp_path) == ["In words", "Accuracy and agreement", "Differences", "Numbers", "What a student took"]


def test_one_arm_shows_no_difference(tmp_path: Path) -> None:
    scored_run(tmp_path, {"kd-shots": 0.5}, task="mine")
    assert parts(tmp_path) == ["In words", "Accuracy and agreement", "Numbers", "What a student took"]
    assert "contrast" not in read_page(made(tmp_path)[2]).all("header")[0].text


def test_many_verdicts_that_show_nothing_are_folded_and_still_there(tmp_path: Path) -> None:
    arms = {f"arm-{index:02}": 0.5 + index / 1000 for index in range(16)}
    for seed in (0, 1, 2):
        run = {"kd-shots": 0.5, **{name: value + 0.1 * (seed - 1) for name, value in arms.items()}}
        scored_run(tmp_path / f"s{seed}", run, seed=seed, task="mine")
    section = read_page(made(tmp_path)[2]).section("In words")
    assert section.all("dt")[0].text == "No difference shown 16"
    assert "open" not in section.all("details")[0].attributes
    assert [line.all("b")[1].text for line in section.all("details")[0].all("p")] == list(arms)


def test_one_seed_is_not_tested_and_has_no_spread(tmp_path: Path) -> None:
    scored_run(tmp_path, {"kd-shots": 0.5, "kd-cod": 0.6}, task="mine")
    root = read_page(made(tmp_path)[2])
    assert "Not tested 1" in [node.text for node in root.all("dt")]
    assert "±" not in root.section("Numbers").table()["k = 16: kd-cod"]["acc %"].text
    assert root.section("Differences").all("line", class_="whisker") == []


def test_without_labels_there_is_agreement_only_and_no_teachers_line(tmp_path: Path) -> None:
    none = dict.fromkeys(("accuracy", "macro_f1", "mcc", "ece", "brier"))
    for k in (8, 16):
        run = scored_run(tmp_path / f"k{k}", {"kd-shots": None, "kd-cod": None}, k=k, task="mine", **none)
        kept = [score for score in run.scores.read() if score.student != "teacher"]
        run.scores.finish(run.scores.require(), kept)
    root = read_page(made(tmp_path)[2])
    table = root.section("Numbers").table()
    assert list(table) == ["k = 8: kd-shots", "k = 8: kd-cod", "k = 16: kd-shots", "k = 16: kd-cod"]
    assert list(table["k = 8: kd-cod"]) == ["arm", "seeds", "agree %", "KL nats"]
    captions = [caption.text for caption in root.section("Accuracy and agreement").all("figcaption")]
    assert captions == ["Agreement with the teacher, %"]


def test_a_metric_in_nats_is_not_shown_in_points(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        run = scored_run(tmp_path / f"s{seed}", {"kd-shots": 0.5, "kd-cod": 0.6}, seed=seed, task="mine")
        kept = [s.replace(kl=0.4 + seed / 10) if s.student == "kd-shots" else s for s in run.scores.read()]
        run.scores.finish(run.scores.require(), kept)
    root = read_page(made(tmp_path, metric="kl")[2])
    line = root.section("Differences").table()["mine, validation, k = 16: kd-cod"]
    assert line["difference"].text == "−0.100"
    assert "points" not in root.section("In words").text


def test_several_tasks_are_told_apart(tmp_path: Path) -> None:
    for task in ("mine", "yours"):
        for seed in (0, 1):
            run = scored_run(tmp_path / f"{task}{seed}", {"kd-shots": 0.5, "kd-cod": 0.6}, seed=seed, task=task)
            with_pairs(run, [(f"bad {task}", f"good {task}")], task=task)
    root = read_page(made(tmp_path)[2])
    assert [node.text for node in root.section("Numbers").all("h3")] == ["mine, validation", "yours, validation"]
    choice = next(node for node in root.all("select") if node.attributes["name"] == "task")
    assert [option.text for option in choice.all("option")] == ["all tasks", "mine", "yours"]
    assert [item.attributes["data-task"] for item in root.all("li")] == ["mine", "yours"]
    assert "mine, validation, k = 16: kd-cod" in root.section("What a student took").table()


def test_texts_stay_with_the_task_that_they_are_of(tmp_path: Path) -> None:
    run = scored_run(tmp_path, {"kd-shots": 0.5}, task="mine")
    with_pairs(run, [("bad", "good")], task="mine")
    run.scores.finish(
        run.scores.require(), [s for task in ("mine", "yours") for s in elsewhere(run.scores.read(), task)]
    )
    assert [item.attributes["data-task"] for item in read_page(made(tmp_path)[2]).all("li")] == ["mine"]


def elsewhere(scores: list, task: str) -> list:  # type: ignore[type-arg]
    return [score.replace(task=task) for score in scores]


def test_what_is_not_tested_stands_among_the_tests_too(tmp_path: Path) -> None:
    run = scored_run(tmp_path, {"kd-shots": 0.5, "kd-cod": 0.6, "kd-cut": 0.9}, task="mine")
    trained(run, "kd-cut", cut_from_teacher=True)
    section = read_page(made(tmp_path)[2]).section("Differences")
    line = section.table()["mine, validation, k = 16: kd-cut †"]
    assert line["in words"].text == "cut from its teacher, not compared"
    assert "† cut from a fine-tuned teacher" in section.text


def test_one_k_has_a_chart_of_what_each_arm_reaches_too(tmp_path: Path) -> None:
    for seed, reached in enumerate((0.5, 0.6)):
        scored_run(tmp_path / f"s{seed}", {"kd-shots": reached, "kd-cod": reached + 0.1}, seed=seed)
    chart = read_page(made(tmp_path)[2]).section("Accuracy and agreement").all("svg")[0]
    assert [name.text for name in chart.all("text", class_="name")] == ["kd-codkd-cod", "kd-shotskd-shots"]
    assert [words.text for words in chart.all("text", class_="words")] == ["65.0 ± 7.1", "55.0 ± 7.1"]
    assert "teacher 90.0" in chart.text


def test_the_words_of_the_page_are_explained_at_its_top(whole: tuple[Evidence, Comparison, str]) -> None:
    head = read_page(whole[2]).all("header")[0]
    explained = dict(zip((n.text for n in head.all("dt")), (n.text for n in head.all("dd")), strict=True))
    assert {"k", "CFE", "kd", "shots", "cod", "‡"} <= explained.keys()
    assert "never counted as a win" in explained["‡"]
    assert "†" not in explained


def test_which_class_is_taken_for_which_is_counted_over_the_seeds(whole: tuple[Evidence, Comparison, str]) -> None:
    table = read_page(whole[2]).section("Which class is taken for which").table()
    counts = {name: [cell.text for cell in list(line.values())[1:]] for name, line in table.items()}
    assert counts == {"negative": ["4", "4"], "positive": ["4", "4"]}


def test_the_picture_stands_by_itself_and_has_every_arm_at_every_k(whole: tuple[Evidence, Comparison, str]) -> None:
    evidence, comparison, _ = whole
    drawn = ElementTree.fromstring(picture(comparison, evidence.yardsticks))
    texts = [node.text or "" for node in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("kd-cod") == texts.count("kd-shots") == 2
    assert {"sst2, validation, k = 8", "sst2, validation, k = 16", "teacher 90.0"} <= set(texts)
    assert not re.search(r"(href|src)=", picture(comparison, evidence.yardsticks))
