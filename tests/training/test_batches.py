"""Mixes, the join by id and text, and the packing of groups into batches."""

import random

import pytest

from cod_cli.data.draw import Draws
from cod_cli.errors import CodError, UsageError
from cod_cli.mixes import Families, select, select_as_in_0_1
from cod_cli.records import Counterfactual, Shot, SoftLabel, text_sha
from cod_cli.training.batches import batches_per_epoch, pack, random_batches
from cod_cli.training.trainset import join

LABELS = ["negative", "neutral", "positive"]


def shot(n: int) -> Shot:
    return Shot(id=f"d/train/{n}", text=f"text {n}", label=LABELS[n % 3])


def cfe(n: int, target: str = "positive") -> Counterfactual:
    return Counterfactual(
        id=f"d/train/{n}~{target}",
        shot_id=f"d/train/{n}",
        text=f"{target} text {n}",
        label=target,
        source_label=LABELS[n % 3],
        kind="cfe",
        generator="file",
        prompt=None,
        flipped=None,
        p_before=None,
        p_after=None,
        edit_ratio=0.5,
        n_edits=1,
        minimal=None,
        attempts=1,
    )


def soft(row: Shot | Counterfactual, logits: list[float] | None = None) -> SoftLabel:
    logits = logits or [1.0, 2.0, 3.0]
    return SoftLabel(
        id=row.id, text_sha=text_sha(row.text), logits=logits, teacher="t", source="logits", covered_mass=1.0
    )


def ids(groups: list[list[Shot | Counterfactual]]) -> list[list[str]]:
    return [[row.id.removeprefix("d/train/") for row in group] for group in groups]


def test_the_mix_shots_takes_every_shot_alone() -> None:
    assert ids(select("shots", [shot(1), shot(2)], [cfe(1)])) == [["1"], ["2"]]


def semifactual(n: int, number: int = 1) -> Counterfactual:
    own = LABELS[n % 3]
    return cfe(n, own).replace(id=f"d/train/{n}~={number}", text=f"as {own} as {n}.{number}", kind="semifactual")


def further(n: int, target: str, number: int) -> Counterfactual:
    return cfe(n, target).replace(id=f"d/train/{n}~{target}~{number}", text=f"{target} text {n}.{number}")


@pytest.mark.parametrize("mix", ["all", "contrast"])
def test_a_family_of_two_classes_has_as_many_rows_of_the_one_as_of_the_other(mix: str) -> None:
    cfes = [cfe(1), further(1, "positive", 2), further(1, "positive", 3)]
    assert ids(select(mix, [shot(1)], [*cfes, semifactual(1)])) == [["1"], ["1~=1"], ["1~positive"], ["1~positive~2"]]
    many = [cfe(1), *(semifactual(1, number) for number in range(1, 5))]
    assert ids(select(mix, [shot(1)], many)) == [["1"], ["1~positive"]]


def test_a_family_of_three_classes_has_as_many_rows_of_each_as_of_the_rarest() -> None:
    cfes = [cfe(1), further(1, "positive", 2), cfe(1, "negative"), further(1, "negative", 2), further(1, "negative", 3)]
    rows = select("contrast", [shot(1)], [*cfes, *(semifactual(1, number) for number in range(1, 5))])
    assert ids(rows) == [["1"], ["1~=1"], ["1~positive"], ["1~positive~2"], ["1~negative"], ["1~negative~2"]]


def test_a_class_that_no_edit_reaches_does_not_count() -> None:
    rows = select("contrast", [shot(1)], [cfe(1), further(1, "positive", 2), semifactual(1)])
    assert ids(rows) == [["1"], ["1~=1"], ["1~positive"], ["1~positive~2"]]


def test_of_a_family_of_one_class_the_shot_stays_alone() -> None:
    assert ids(select("contrast", [shot(1), shot(2)], [semifactual(1), semifactual(1, 2)])) == [["1"], ["2"]]


def test_a_shot_that_the_teacher_takes_for_another_class_is_the_only_row_of_its_own() -> None:
    wrong = [semifactual(1, number).replace(label="positive") for number in (1, 2)]
    assert ids(select("contrast", [shot(1)], wrong)) == [["1"], ["1~=1"]]


def test_contrast_sets_are_balanced_whatever_there_is() -> None:
    rng, some = random.Random(0), 0
    for _ in range(200):
        shots = [shot(n) for n in range(rng.randint(1, 6))]
        made = [further(n, t, i) for n in range(6) for t in ("neutral", "positive", "negative") for i in range(9)]
        rows = [row for group in select("contrast", shots, rng.sample(made, rng.randint(0, 60))) for row in group]
        for one in shots:
            classes = [row.label for row in rows if one.id in (row.id, getattr(row, "shot_id", None))]
            assert len({classes.count(label) for label in classes}) == 1
            some += len(classes) > 2
    assert some > 100


def test_no_group_of_a_contrast_set_holds_two_rows_of_one_family_and_batches_mix_families() -> None:
    made = [(further(n, LABELS[(n + 1) % 3], i), semifactual(n, i)) for n in range(8) for i in range(1, 20)]
    derived = [row for both in made for row in both]
    groups = select("contrast", [shot(n) for n in range(8)], derived)
    assert {len(group) for group in groups} == {1}
    # Each family's texts are of a length of their own, as those of real shots are.
    batches = random_batches(groups, len(groups) // 8, random.Random(0), lambda g: len(g[0].text), None)
    families = [{row.id.split("~")[0] for [row] in batch} for batch in batches]
    assert sum(map(len, families)) / len(families) > 4.5  # 5.25 where every row is drawn by itself
    assert min(map(len, families)) >= 2


def rich_family() -> list[Counterfactual]:
    return [
        *(cfe(1), further(1, "positive", 2), further(1, "positive", 3), cfe(1, "negative")),
        *(semifactual(1, number) for number in (1, 2)),
    ]


@pytest.mark.parametrize(
    ("families", "rows"),
    [
        ("one-cfe", ["1", "1~positive", "1~negative"]),
        ("cfes", ["1", "1~positive", "1~positive~2", "1~positive~3", "1~negative"]),
        ("semifactuals", ["1", "1~=1", "1~=2"]),
    ],
)
def test_a_part_of_a_contrast_set_is_taken_whole_and_row_by_row(families: Families, rows: list[str]) -> None:
    groups = select("contrast", [shot(1), shot(2)], rich_family(), families)
    assert ids(groups) == [[row] for row in [*rows, "2"]]


def test_families_together_are_the_same_rows_in_groups() -> None:
    shots, made = [shot(1), shot(2)], rich_family()
    together, alone = (select("contrast", shots, made, families) for families in ("together", "balanced"))
    assert ids(together) == [["1", "1~positive", "1~negative"], ["2"]]
    assert [row for group in together for row in group] == [row for group in alone for row in group]


def test_random_edits_are_taken_all_and_row_by_row() -> None:
    made = [further(1, "positive", 2), further(1, "neutral", 3), further(2, "positive", 2)]
    assert ids(select("random-edits", [shot(1), shot(2)], made)) == [
        ["1"],
        ["1~positive~2"],
        ["1~neutral~3"],
        ["2"],
        ["2~positive~2"],
    ]


def test_the_mix_cod_takes_half_of_the_shots_in_pairs() -> None:
    shots = [shot(n) for n in range(1, 7)]
    groups = select("cod", shots, [cfe(n) for n in range(1, 7)])
    assert ids(groups) == [["1", "1~positive"], ["2", "2~positive"], ["3", "3~positive"]]


def test_the_mix_cod_gives_rows_that_no_group_fits_to_that_shot_and_the_next_alone() -> None:
    shots = [shot(n) for n in range(1, 9)]
    both = [cfe(n, target) for n in range(1, 9) for target in ("neutral", "positive")]
    assert ids(select("cod", shots, both)) == [
        ["1", "1~neutral", "1~positive"],
        ["2", "2~neutral", "2~positive"],
        ["3"],
        ["4"],
    ]


def test_the_mix_cod_passes_no_shot_over() -> None:
    groups = select("cod", [shot(n) for n in range(1, 5)], [cfe(2), cfe(3)])
    assert ids(groups) == [["1"], ["2", "2~positive"], ["3"]]


def test_a_cfe_whose_shot_is_gone_is_left_out() -> None:
    assert ids(select("all", [shot(1)], [cfe(1), cfe(2)])) == [["1"], ["1~positive"]]


def test_the_mix_cod_always_has_exactly_k_rows_and_no_cfe_without_its_shot() -> None:
    rng, paired = random.Random(0), 0
    for _ in range(300):
        shots = [shot(n) for n in range(rng.randint(1, 20))]
        cfes = [cfe(n, t) for n in range(20) for t in ("neutral", "positive") if rng.random() < rng.random()]
        groups = select("cod", shots, cfes)
        paired += sum(len(group) > 1 for group in groups)
        assert sum(map(len, groups)) == len(shots)
        assert [group[0] for group in groups] == shots[: len(groups)]
        assert all(row.shot_id == first.id for first, *rest in groups for row in rest)
    assert paired > 300


def test_the_mix_cod_takes_one_cfe_of_a_class_and_no_semifactual() -> None:
    shots = [shot(n) for n in range(1, 5)]
    paired = [cfe(n) for n in range(1, 5)]
    more = [row for n in range(1, 5) for row in (further(n, "positive", 2), semifactual(n))]
    assert select("cod", shots, [*more, *paired]) == select("cod", shots, paired)


def test_version_0_1_kept_families_whole_and_took_every_cfe() -> None:
    rows = [cfe(1), further(1, "positive", 2)]
    assert ids(select_as_in_0_1("all", [shot(1), shot(2)], rows)) == [["1", "1~positive", "1~positive~2"], ["2"]]
    assert ids(select_as_in_0_1("cod", [shot(1), shot(2), shot(3)], rows)) == [["1", "1~positive", "1~positive~2"]]


def test_an_unknown_mix_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="--mix is 'half'"):
        select("half", [shot(1)], [])


def test_logits_are_joined_by_id_whatever_the_order_of_rows_and_classes() -> None:
    first, second = shot(1), cfe(1)
    labels = [soft(second, [0.1, 0.2, 0.3]), soft(shot(9)), soft(first, [3.0, 1.0, 2.0])]
    rows = join([first, second], LABELS, labels, ["positive", "negative", "neutral"], command="cod label r")
    a, b = rows[first.id], rows[second.id]
    assert (a.id, a.text, a.label, a.logits) == (first.id, first.text, 1, (1.0, 2.0, 3.0))
    assert (b.id, b.label, b.logits) == (second.id, 2, (0.2, 0.3, 0.1))


def test_a_soft_label_made_for_another_text_names_the_command_that_mends_it() -> None:
    mended = shot(1).replace(text="a mended text")
    with pytest.raises(CodError, match="d/train/1 was made for another text") as caught:
        join([mended], LABELS, [soft(shot(1))], LABELS, command="cod label runs/a")
    assert "`cod label runs/a`" in str(caught.value.hint)


def test_a_row_without_a_soft_label_names_the_command_that_fills_it_in() -> None:
    with pytest.raises(CodError, match="d/train/2 has no soft label") as caught:
        join([shot(1), shot(2)], LABELS, [soft(shot(1))], LABELS, command="cod label runs/a")
    assert "`cod label runs/a`" in str(caught.value.hint)


def test_soft_labels_for_other_classes_are_refused() -> None:
    with pytest.raises(CodError, match="for the classes a, b"):
        join([shot(1)], LABELS, [soft(shot(1))], ["a", "b"], command="cod label r")


def test_a_label_outside_of_the_set_is_refused() -> None:
    odd = shot(1).replace(label="mixed")
    with pytest.raises(CodError, match="'mixed'"):
        join([odd], LABELS, [soft(odd)], LABELS, command="cod label r")


def test_arms_of_as_many_rows_have_as_many_batches() -> None:
    pairs, singles = [["x", "y"]] * 8, [["x"]] * 16
    assert batches_per_epoch(pairs, 8) == batches_per_epoch(singles, 8) == 2
    assert batches_per_epoch([["x"]] * 17, 8) == 3


def test_a_batch_size_that_would_leave_a_batch_empty_names_one_that_works() -> None:
    groups = [["a", "b", "c"], ["d", "e", "f"]]
    with pytest.raises(UsageError, match="6 batches of only 2 groups") as caught:
        batches_per_epoch(groups, 1)
    assert caught.value.hint == "give --batch-size 3 or more"
    assert batches_per_epoch(groups, 3) == 2


def random_groups(rng: random.Random) -> tuple[list[list[int]], int]:
    groups = [[number] * rng.randint(1, rng.choice([1, 2, 5])) for number in range(rng.randint(1, 40))]
    return groups, rng.randint(max(map(len, groups)), 12)


def test_packing_keeps_groups_whole_leaves_no_batch_empty_and_exceeds_by_less_than_a_group() -> None:
    rng = random.Random(1)
    for _ in range(2000):
        groups, batch_size = random_groups(rng)
        n_batches = batches_per_epoch(groups, batch_size)
        batches = pack(groups, n_batches)
        assert [group for batch in batches for group in batch] == groups
        assert len(batches) == n_batches
        for batch in batches:
            assert batch
            assert sum(map(len, batch)) < batch_size + max(map(len, batch))


def test_packing_works_down_to_one_group_a_batch() -> None:
    rng = random.Random(2)
    for _ in range(500):
        groups, _ = random_groups(rng)
        n_batches = rng.randint(1, len(groups))
        assert [len(batch) > 0 for batch in pack(groups, n_batches)] == [True] * n_batches


def test_an_epochs_order_is_random_and_repeats_with_its_seed() -> None:
    groups = [[n, n] for n in range(16)]
    first = random_batches(groups, 4, Draws(0), len, 0.3)
    assert first == random_batches(groups, 4, Draws(0), len, 0.3)
    assert first != random_batches(groups, 4, Draws(1), len, 0.3)
    assert sorted(group for batch in first for group in batch) == groups


def test_groups_of_like_length_share_a_batch_but_not_always_the_same_one() -> None:
    lengths = {n: 10 + n for n in range(64)}
    rng = Draws(0)
    epochs = [random_batches([[n] for n in lengths], 8, rng, lambda g: lengths[g[0]], 0.3) for _ in range(20)]
    ranges = [max(batch)[0] - min(batch)[0] for batches in epochs for batch in batches]
    assert sum(ranges) / len(ranges) < 35  # 50 where the order is random
    companies = {tuple(sorted(n for [n] in batch)) for batches in epochs for batch in batches}
    assert len(companies) > 150
    firsts = {max(batches[0])[0] // 16 for batches in epochs}
    assert len(firsts) > 1


def real(n: int) -> Counterfactual:
    return cfe(n).replace(id=f"d/train/{n}", shot_id=None, kind="pool-rows")


def test_a_rival_takes_its_rows_in_the_place_of_cfes() -> None:
    shots = [shot(n) for n in range(1, 7)]
    assert ids(select("eda", shots, [cfe(1), cfe(3), cfe(4)])) == [
        ["1", "1~positive"],
        ["2"],
        ["3", "3~positive"],
        ["4"],
    ]


def test_the_pool_stands_beside_half_of_the_shots_each_text_alone() -> None:
    shots = [shot(n) for n in range(1, 6)]
    assert ids(select("pool-rows", shots, [real(7), real(8), real(9)])) == [["1"], ["2"], ["3"], ["7"], ["8"]]


def test_where_the_pool_is_too_small_shots_fill_up() -> None:
    assert ids(select("pool-rows", [shot(n) for n in range(1, 7)], [real(7)])) == [
        ["1"],
        ["2"],
        ["3"],
        ["4"],
        ["5"],
        ["7"],
    ]


def test_the_pool_of_another_budget_is_taken_whole() -> None:
    assert ids(select("pool-queries", [shot(1), shot(2)], [real(7), real(8), real(9)])) == [
        [str(n)] for n in (1, 2, 7, 8, 9)
    ]
