"""What the paper and its implementations disagree on: each choice, the fields of a trial that hold
it, and the tests that try it both ways.

The values themselves stand in the presets; `mrcnn.differences` reads them from there.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """One thing on which implementations differ.

    name     in words
    fields   paths into a trial; what lies below them belongs to the choice as well
    tests    of tests/mrcnn, as file::function without "test_"
    """

    name: str
    fields: tuple[str, ...]
    tests: tuple[str, ...]


CHOICES = (
    Choice(
        "RoI layer, and its half pixel",
        ("model.roi_op",),
        (
            "roi_ops::at_regular_places_it_is_roi_align",
            "roi_ops::crop_and_resize_reads_the_corners",
            "model::every_swap_trains_and_predicts",
            "golden::a_mistake_that_loads_without_an_error_is_seen",
        ),
    ),
    Choice(
        "the pyramid level of a box",
        ("model.backbone.levels", "model.backbone.canonical_side"),
        (
            "levels::each_peers_formula_as_written_in_its_source",
            "levels::where_the_epsilon_stands_decides_near_a_threshold",
            "levels::matterport_rounds_so_that_thresholds_lie_at_the_root_of_a_half",
        ),
    ),
    Choice(
        "whether a box is x2 - x1 wide, or one more",
        ("model.box_convention",),
        (
            "boxes::inclusive_formulas_are_the_continuous_ones_one_pixel_on",
            "boxes::box_convention_in_clipping",
            "config::roi_layers_read_the_corners_of_the_convention",
        ),
    ),
    Choice(
        "weights and clip of box deltas",
        ("model.rpn.coder", "model.box_head.coder"),
        ("boxes::coder_weights", "boxes::growth_limit"),
    ),
    Choice(
        "anchors: rounding, centres, ratios",
        ("model.rpn.anchors",),
        (
            "anchors::the_three_ways_of_rounding_an_anchor",
            "anchors::anchors_rounded_by_sides_are_detectrons",
            "anchors::spacing_by_size_is_torchvisions",
        ),
    ),
    Choice(
        "anchors that cross the image's border",
        ("model.rpn.straddle",),
        ("rpn::straddling_anchors", "rpn::a_straddling_anchor_claims_no_object"),
    ),
    Choice(
        "the RPN's convolutions",
        ("model.rpn.convs", "model.rpn.width"),
        ("rpn::convolutions_and_their_width", "rpn::two_convolutions_are_torchvisions"),
    ),
    Choice(
        "proposals: how many, of what, ranked by what",
        (
            "model.rpn.pre_nms_train",
            "model.rpn.pre_nms_test",
            "model.rpn.post_nms_train",
            "model.rpn.post_nms_test",
            "model.rpn.images_together",
            "model.rpn.levels",
            "model.rpn.ranking",
            "model.rpn.min_side",
            "model.rpn.nms_iou",
        ),
        (
            "rpn::proposals_are_kept_per_image_or_shared_by_a_batch",
            "rpn::levels_apart_or_together",
            "rpn::proposals_are_ranked_by_logits_or_by_probabilities_that_tie",
            "rpn::proposals_that_are_too_small_are_dropped",
        ),
    ),
    Choice(
        "the RPN's losses",
        (
            "model.rpn.objectness",
            "model.rpn.beta",
            "model.rpn.class_normaliser",
            "model.rpn.box_normaliser",
        ),
        (
            "rpn::objectness_by_softmax_is_foreground_less_background",
            "rpn::rpn_beta",
            "rpn::what_the_rpn_class_loss_is_divided_by",
            "rpn::what_the_rpn_box_loss_is_divided_by",
        ),
    ),
    Choice(
        "which anchors have an object, and which are looked at",
        ("model.rpn.matching", "model.rpn.anchors_per_image", "model.rpn.positive_fraction"),
        (
            "matching::an_object_overlapped_too_little_may_claim_nothing",
            "matching::whom_a_claimed_box_answers_for",
            "rpn::half_of_the_sampled_anchors_are_positives_at_most",
        ),
    ),
    Choice(
        "which RoIs are trained on",
        (
            "model.rois_per_image",
            "model.positive_fraction",
            "model.fill_negatives",
            "model.roi_matching",
            "model.add_ground_truth",
        ),
        (
            "config::ground_truth_among_the_proposals",
            "config::rois_filled_up_with_background_or_not",
            "config::an_object_may_claim_its_best_roi",
            "matching::negatives_fill_up_or_keep_the_fraction",
        ),
    ),
    Choice(
        "the box head and its loss",
        ("model.box_head",),
        (
            "box_head::box_head_beta",
            "box_head::what_the_box_loss_is_divided_by",
            "box_head::the_head_with_four_convolutions_is_torchvisions",
            "box_head::a_class_agnostic_head_has_one_box_for_all_classes",
        ),
    ),
    Choice(
        "the mask head and its first weights",
        ("model.mask_head", "model.class_agnostic_masks"),
        (
            "mask_head::norm_of_the_convolutions",
            "mask_head::init_of_convolutions_and_predictor",
            "mask_head::mlp_heads_of_table_2e",
            "mask_head::masks_of_56",
            "mask_head::agnostic_heads_have_one_mask",
        ),
    ),
    Choice(
        "the mask loss",
        ("model.mask_loss",),
        (
            "mask_head::sigmoid_ignores_the_other_classes_and_softmax_does_not",
            "mask_head::decodings_of_softmax_by_hand",
            "mask_head::the_loss_is_a_mean_over_the_pixels_of_all_positives",
        ),
    ),
    Choice(
        "what a mask should be",
        ("model.mask_targets",),
        (
            "mask_targets::polygon_targets_by_hand",
            "mask_targets::soft_targets_keep_the_share_of_a_mask_pixel",
            "mask_targets::targets_without_the_half_pixel_are_shifted",
            "mask_targets::detectron_chooses_the_object_by_the_boxes_of_polygons",
            "mask_targets::mini_mask_targets_are_matterports",
        ),
    ),
    Choice(
        "res5 of every RoI (C4)",
        ("model.roi_trunk",),
        ("backbone::res5_of_14_bins_with_stride_2_or_of_7_without",),
    ),
    Choice(
        "C4, C5 or a pyramid, and its norm",
        (
            "model.backbone.dilation",
            "model.backbone.norm",
            "model.backbone.channels",
            "model.backbone.strides",
            "model.backbone.extra_level",
        ),
        (
            "backbone::paper_c5_is_at_stride_32_and_the_dilated_at_16",
            "backbone::pyramid_with_and_without_norms_is_torchvisions",
            "backbone::c4_reads_res4",
        ),
    ),
    Choice(
        "the residual trunk",
        ("model.backbone.trunk",),
        (
            "trunk::stride_stands_in_the_named_convolution",
            "trunk::each_norm_trains_what_it_says",
            "trunk::eps_is_in_every_norm",
            "trunk::stages_are_trained_from_res5_down",
            "trunk::statistics_of_stages_that_are_not_trained",
            "trunk::where_the_stem_pools",
            "trunk::64x4d_is_not_32x8d",
        ),
    ),
    Choice(
        "from scores to detections",
        ("model.detection",),
        (
            "detection::every_class_or_the_best_alone",
            "detection::suppression_hard_and_soft",
            "detection::nms_threshold",
            "detection::min_score",
            "detection::limit_and_smallest_side",
        ),
    ),
    Choice(
        "how masks are pasted",
        ("model.paste",),
        (
            "paste::exact_by_hand",
            "paste::grown_by_hand",
            "paste::inclusive_by_hand",
            "paste::whole_by_hand",
            "paste::peers_steps_give_the_same_bitmaps",
        ),
    ),
    Choice(
        "keypoints",
        (
            "model.keypoint_head",
            "model.keypoint_loss",
            "model.keypoint_decode",
            "model.num_keypoints",
        ),
        (
            "keypoint_head::the_loss_is_torchvisions",
            "keypoint_head::normaliser_visible_or_possible",
            "keypoint_head::scores_logit_probability_or_share",
            "keypoint_rois::positives_all_or_those_with_keypoints",
        ),
    ),
    Choice(
        "the pixels that the network reads",
        (
            "model.pixel_order",
            "model.pixel_range",
            "model.pixel_mean",
            "model.pixel_std",
            "model.pad_to",
        ),
        (
            "structures::a_swapped_order_mean_or_range_is_seen",
            "structures::padding_to_a_multiple",
            "structures::padding_comes_after_normalising",
        ),
    ),
    Choice(
        "features of the RPN's own",
        ("model.rpn_features", "train.rpn_steps"),
        (
            "train::separate_rpn_features_get_no_gradient_from_the_detector_nor_give_it_one",
            "train::rpn_steps_train_the_rpn_first_and_then_leave_it_as_it_is",
        ),
    ),
    Choice(
        "the size of training images",
        ("train.augment", "evaluate.transforms"),
        (
            "data/transforms::each_rule_of_resize_has_its_sides",
            "data/transforms::several_sides_are_all_drawn",
            "data/transforms::large_scale_jitter_crops_and_pads",
            "data/transforms::square_padding_as_in_matterport",
        ),
    ),
    Choice(
        "steps, batch and rate",
        (
            "train.steps",
            "train.batch_size",
            "train.optimiser",
            "train.schedule",
            "train.warmup_steps",
            "train.warmup_factor",
            "train.clip",
        ),
        (
            "optimise::rates_by_hand",
            "published::the_papers_presets_train_on_as_many_images_as_the_paper",
        ),
    ),
    Choice(
        "what losses are divided by where several processes train",
        ("train.normaliser", "train.aspect_groups"),
        (
            "ranks::global_normaliser_is_one_process_on_the_whole_batch_for_20_steps",
            "ranks::per_rank_normaliser_is_not_and_the_difference_shows",
            "data/loader::aspect_groups_batch_wide_with_wide_and_tall_with_tall",
        ),
    ),
    Choice(
        "views of an image at test time",
        ("evaluate.augment", "evaluate.pose_score", "evaluate.max_detections"),
        (
            "augmented::masks_are_the_mean_of_all_views",
            "augmented::boxes_of_all_views_compete_by_hand",
            "scoring::pose_score_box_or_keypoints",
        ),
    ),
)
"""Every row of what implementations differ in, in the order of the paper's pipeline."""
