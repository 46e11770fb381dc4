"""What the kernels are worth to the detector: images a second of each piece of work."""

from benchmarks.detector.share import IMAGES, WORK, Share, choice, share


def test_images_a_second_count_the_whole_batch():
    times = {"ours_ms": (100.0, 300.0, 200.0), "peer_ms": (400.0,) * 3}
    found = Share(name="n", device="cpu", threads=1, images=8, **times)
    assert found.images_per_s == 40.0
    assert found.ratio[0] == 2.0


def test_work_on_several_images_says_so():
    assert set(IMAGES) < set(WORK)
    assert set(IMAGES.values()) == {8}


def test_the_detector_is_timed_with_one_backend_and_the_other():
    assert choice("cpu", "numba")["roi_align"] == "numba"
    assert "crop_and_resize" not in choice("cpu", "torchvision")
    found = share("training step, small FPN", "cpu", 1, 3)
    assert len(found.ours_ms) == len(found.peer_ms) == 3
