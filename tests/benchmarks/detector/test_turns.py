"""Two pieces of work in turn: as often, in the other order each time, samples side by side."""

from benchmarks.detector.turns import in_turn


def test_the_order_turns_round_and_samples_stay_beside_each_other():
    said, now = [], [0.0]

    def work(name, seconds):
        def run():
            said.append(name)
            now[0] += seconds * (1 + said.count(name))

        return run

    seen = []
    found = in_turn(
        work("a", 1.0),
        work("b", 10.0),
        3,
        show=lambda *step: seen.append(step[1:3]),
        clock=lambda: now[0],
    )
    assert said == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert found.first == (3000.0, 4000.0, 5000.0)  # the first of four is left out
    assert found.second == (30000.0, 40000.0, 50000.0)
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
