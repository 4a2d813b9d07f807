import json

import pytest

from tests.cli import edged


@pytest.mark.guarantee(1)
def test_all_that_is_sampled_arrives():
    demo = edged("demo", "--seconds", "3", "--json")
    assert demo.returncode == 0, demo
    assert demo.stderr == ""
    summary = json.loads(demo.stdout)
    assert summary.keys() >= {"sampled", "stored", "dropped", "destinations"}
    assert set(summary["destinations"]) == {"databoom", "bbdata", "bbdata-mqtt", "datacake"}
    assert summary["sampled"] == summary["stored"] > 0
    assert summary["dropped"] == 0
    for each in summary["destinations"].values():
        assert each.keys() >= {"queued", "delivered", "dead", "accepted", "violations"}
        assert each["accepted"] == each["delivered"] > 0
        assert (each["queued"], each["dead"], each["violations"]) == (0, 0, 0)


def test_for_people(tmp_path):
    demo = edged("demo", "--seconds", "0.1", cwd=tmp_path)
    assert demo.returncode == 0, demo
    assert demo.stderr == ""
    assert demo.stdout.splitlines()[-1] == "all figures add up"
    for name in ("databoom", "bbdata", "bbdata-mqtt", "datacake"):
        assert name in demo.stdout
    assert list(tmp_path.iterdir()) == []
