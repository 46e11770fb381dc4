"""Memory for the kernels: in huge pages, but not where the machine gives those back to its host."""

import pytest
import torch

from kernels import layouts

REPORTS, KEEPS = "0110010110", "0110000110"
"""Features of a balloon with and without its bit 5, free page reporting; bit 0 comes first."""


def devices(folder, *of_each):
    for number, (kind, features) in enumerate(of_each):
        device = folder / f"virtio{number}"
        device.mkdir()
        (device / "device").write_text(f"{kind}\n")
        (device / "features").write_text(f"{features}\n")
    return folder


@pytest.mark.parametrize(
    ("of_each", "expected"),
    [
        ([], False),
        ([("0x0005", REPORTS)], True),
        ([("0x0005", KEEPS)], False),
        ([("0x0002", REPORTS)], False),
        ([("0x0002", KEEPS), ("0x0005", REPORTS)], True),
        ([("0x0005", "011")], False),
    ],
)
def test_free_page_reporting_is_a_bit_of_a_balloon(tmp_path, of_each, expected):
    assert layouts.gives_memory_back(devices(tmp_path, *of_each)) is expected


def test_a_machine_without_such_devices_keeps_its_memory(tmp_path):
    assert not layouts.gives_memory_back(tmp_path / "none")


@pytest.mark.parametrize("gives_back", [True, False])
def test_huge_pages_are_asked_for_where_they_stay(monkeypatch, gives_back):
    asked = []
    monkeypatch.setattr(layouts, "gives_memory_back", lambda: gives_back)
    monkeypatch.setattr(layouts.sys, "platform", "linux")
    monkeypatch.setattr(layouts.ctypes, "CDLL", lambda name: Library(asked))
    layouts._advise.cache_clear()
    try:
        like = torch.zeros(1)
        layouts.empty((1, 1, 2, layouts.HUGE // 8), like, last=False)
        layouts.empty((1, 1, 2, 2), like, last=False)
    finally:
        layouts._advise.cache_clear()
    assert [(size > layouts.HUGE - 2 * 4096, advice) for _, size, advice in asked] == (
        [] if gives_back else [(True, 14)]
    )


class Library:
    """C's, as far as it is asked."""

    def __init__(self, asked):
        def madvise(*given):
            asked.append(given)

        self.madvise = madvise
