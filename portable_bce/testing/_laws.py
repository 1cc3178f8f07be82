"""Every law, in the order of reports."""

from __future__ import annotations

from portable_bce.testing import _accuracy, _arrays, _limits, _symmetry
from portable_bce.testing._law import Law

LAWS: tuple[Law, ...] = (
    _accuracy.loss_of_hard_labels_is_within_its_bound,
    _accuracy.loss_of_soft_labels_is_within_its_bound,
    _accuracy.gradient_of_hard_labels_is_within_its_bound,
    _accuracy.gradient_of_soft_labels_is_within_its_bound,
    _accuracy.hessian_is_within_its_bound,
    _accuracy.loss_keeps_its_tail,
    _accuracy.gradient_keeps_its_tail,
    _accuracy.hessian_keeps_its_tail,
    _accuracy.loss_of_finite_logits_is_finite,
    _accuracy.gradient_of_finite_logits_is_finite,
    _accuracy.hessian_of_finite_logits_is_finite,
    _limits.loss_at_infinite_logits_is_its_limit,
    _limits.gradient_at_infinite_logits_is_its_limit,
    _limits.hessian_at_infinite_logits_is_zero,
    _limits.loss_of_nan_is_nan,
    _limits.gradient_of_nan_is_nan,
    _limits.hessian_of_nan_is_nan,
    _symmetry.loss_is_never_negative,
    _symmetry.gradient_lies_between_minus_target_and_the_rest,
    _symmetry.hessian_lies_between_zero_and_a_quarter,
    _symmetry.gradient_at_logit_zero_is_one_half_minus_target,
    _symmetry.flipping_logit_and_label_keeps_the_loss,
    _symmetry.flipping_logit_and_label_negates_the_gradient,
    _symmetry.flipping_logit_and_label_keeps_the_hessian,
    _symmetry.loss_is_linear_in_the_target,
    _arrays.results_have_the_shape_and_dtype_of_the_logits,
    _arrays.inputs_are_left_as_they_were,
    _arrays.repeated_calls_agree,
    _arrays.values_do_not_depend_on_their_neighbours,
    _arrays.views_give_what_their_copies_give,
)
