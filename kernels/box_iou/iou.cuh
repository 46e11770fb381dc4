// A box and the intersection over union of two, in the steps of kernels/box_iou/reference.py, each
// rounded on its own: a product that went into a sum unrounded could turn a comparison.

struct Box {
    REAL x1, y1, x2, y2, area;
};

__device__ inline float product(float a, float b) { return __fmul_rn(a, b); }
__device__ inline double product(double a, double b) { return __dmul_rn(a, b); }

__device__ inline float least_normal(float) { return 1.17549435e-38f; }
__device__ inline double least_normal(double) { return 2.2250738585072014e-308; }

// The area of a box with these sides, 0 where one is negative.
__device__ inline REAL area_of(REAL width, REAL height) {
    return product(max(width, REAL(0)), max(height, REAL(0)));
}

// Box i of boxes, (n, 4) x1, y1, x2, y2. One with a coordinate that is not finite comes as a point
// at 0, and so meets no other.
__device__ inline Box box_at(const REAL *boxes, long long i) {
    const REAL x1 = boxes[4 * i], y1 = boxes[4 * i + 1];
    const REAL x2 = boxes[4 * i + 2], y2 = boxes[4 * i + 3];
    const bool finite = (x1 - x1) + (y1 - y1) + (x2 - x2) + (y2 - y2) == REAL(0);
    return finite ? Box{x1, y1, x2, y2, area_of(x2 - x1, y2 - y1)} : Box{};
}

__device__ inline REAL shared_area(const Box &a, const Box &b) {
    return area_of(min(a.x2, b.x2) - max(a.x1, b.x1), min(a.y2, b.y2) - max(a.y1, b.y1));
}

__device__ inline REAL iou(REAL shared, REAL united) {
    return united > REAL(0) ? shared / max(united, least_normal(united)) : REAL(0);
}
