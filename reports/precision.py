"""The inner loop of average precision, compiled: many weightings of the same detections."""

import numpy as np
from numba import njit

IGNORED, RIGHT, WRONG = 0, 1, 2
TINY = np.spacing(1.0)


@njit(cache=True)  # type: ignore[untyped-decorator]
def fill(starts, images, states, weights, objects, recalls, out):  # type: ignore[no-untyped-def]
    """Write the monotone precision at each recall where a category has objects.

    starts    (K + 1,) first detection of each category
    images    (n,) image of each detection
    states    (T, n) IGNORED, RIGHT or WRONG at each threshold
    weights   (B, I), objects (B, K) weighted
    out       (B, T, recalls, K)

    Only where a detection is right can recall grow or precision be the greatest of those behind:
    the others are met once per weighting, not once per threshold.
    """
    thresholds, n = states.shape
    where = np.empty((thresholds, n), np.int64)  # the right ones, category by category
    first = np.zeros((thresholds, len(starts)), np.int64)
    ignored = np.zeros((thresholds, len(starts)), np.bool_)
    for t in range(thresholds):
        for k in range(len(starts) - 1):
            end = first[t, k]
            for i in range(starts[k], starts[k + 1]):
                ignored[t, k] |= states[t, i] == IGNORED
                if states[t, i] == RIGHT:
                    where[t, end] = i
                    end += 1
            first[t, k + 1] = end
    weight, total, own, hits = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for b in range(len(weights)):
        for k in range(len(starts) - 1):
            if objects[b, k] <= 0:
                continue
            counted = 0.0
            for i in range(starts[k], starts[k + 1]):
                weight[i] = weights[b, images[i]]
                counted += weight[i]
                total[i] = counted
            for t in range(thresholds):
                if ignored[t, k]:
                    counted = 0.0
                    for i in range(starts[k], starts[k + 1]):
                        counted += weight[i] if states[t, i] != IGNORED else 0.0
                        own[i] = counted
                ranks = own if ignored[t, k] else total
                read(
                    where[t, first[t, k] : first[t, k + 1]],
                    weight,
                    ranks,
                    hits,
                    objects[b, k],
                    recalls,
                    out[b, t, :, k],
                )


@njit(cache=True)  # type: ignore[untyped-decorator]
def read(right, weight, ranks, hits, objects, recalls, out):  # type: ignore[no-untyped-def]
    """Write one curve: `right` are the detections that found an object, best first, `ranks` the
    weight of all that count up to each detection; `hits` is room to work in."""
    found = 0.0
    for j in range(len(right)):
        found += weight[right[j]]
        hits[j] = found
    r, best = len(recalls) - 1, 0.0
    while r >= 0 and recalls[r] > found / objects:
        out[r] = 0.0
        r -= 1
    for j in range(len(right) - 1, -1, -1):
        best = max(best, hits[j] / (ranks[right[j]] + TINY))
        before = hits[j - 1] / objects if j > 0 else -1.0
        while r >= 0 and recalls[r] > before:
            out[r] = best
            r -= 1
    while r >= 0:
        out[r] = 0.0
        r -= 1
