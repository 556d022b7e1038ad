"""The claims. All thresholds were written down before the first run; README.md says which were stated after it."""

import numpy as np

from experiments.cnn.airbench import ORIGINAL_WIDTH
from experiments.cnn.measures import (
    TABLE_FIELDS,
    TABLE_MACS,
    TABLE_PARAMETERS,
    accuracy_lead,
    accuracy_loss_lead,
    accuracy_on,
    cosine_lead,
    distance_from,
    field_ratio,
    final_loss_ratio,
    formula_error,
    gap_reduction,
    mean_gap,
    parameters_to_match,
    share_kept,
    share_kept_lead,
    shift_ratio,
    spread_of_norms,
)
from experiments.cnn.networks import (
    ADAM,
    AUGMENTATION,
    BATCH_NORM,
    CNN_NAME,
    DROPOUT,
    SGD_ALONE,
    mlp_name,
    permuted_name,
)
from experiments.cnn.receptive_fields import OTHER_CHANGES, WIDENING_CHANGES
from reporting.claims import EXACT, claim, examined

CLAIMS = [
    claim(
        "1a",
        "Every layer of the table model, a CNN of two convolutions, has as many parameters as textbooks state: largest "
        "difference over layers",
        distance_from("parameters", TABLE_PARAMETERS),
        of="exact",
        at_most=0.0,
    ),
    claim(
        "1b",
        "The table model, a CNN of two convolutions, has 11,658 parameters: their number, computed from the module",
        lambda result: result.examined["parameters"].sum(1),
        of="exact",
        at_least=sum(TABLE_PARAMETERS),
        at_most=sum(TABLE_PARAMETERS),
    ),
    claim(
        "1c",
        "The table model, a CNN of two convolutions, takes 526,336 multiply-adds for an image: their number, computed "
        "from the module",
        lambda result: result.examined["macs"].sum(1),
        of="exact",
        at_least=TABLE_MACS,
        at_most=TABLE_MACS,
    ),
    claim(
        "1d",
        "The convolutions and poolings of the table model, a CNN of two convolutions, see 3, 4, 8 and 10 pixels of a "
        "side by formula: largest difference in pixels",
        distance_from("table/formula", TABLE_FIELDS),
        of="exact",
        at_most=0.0,
    ),
    claim(
        "1e",
        "The table model, a CNN of two convolutions, has the receptive fields of the formula, measured by the input "
        "gradients of 100 random images: largest difference in pixels",
        formula_error("table"),
        of="exact",
        at_most=0.0,
    ),
    claim(
        "2a",
        "A convolution is linear in its image and in its kernel: largest error in float64",
        examined("linearity_error"),
        of="exact",
        at_most=EXACT,
    ),
    claim(
        "2b",
        "A convolution's weight gradient is dW[p,q] = sum of x[i+p,j+q] dy[i,j] over image and batch: largest error in "
        "float64",
        examined("weight_gradient_error"),
        of="exact",
        at_most=EXACT,
    ),
    claim(
        "2c",
        "A convolution's output moves with its image, where the image's edges are joined: largest error in float64",
        examined("shift_error"),
        of="exact",
        at_most=EXACT,
    ),
    claim(
        "3a",
        "A larger kernel, a further layer, a stride and a pooling each widen a CNN's receptive field: least ratio of "
        "the measured field with one of them to that without",
        field_ratio(WIDENING_CHANGES, np.min),
        of="exact",
        above=1.0,
    ),
    claim(
        "3b",
        "More channels, another activation and batch normalisation do not widen a CNN's receptive field: largest ratio "
        "of the measured field with one of them to that without",
        field_ratio(OTHER_CHANGES, np.max),
        of="exact",
        at_most=1.0,
    ),
    claim(
        "3c",
        "The receptive fields of eight CNNs that differ in one thing are measured as the formula says: largest "
        "difference in pixels",
        formula_error("variants"),
        of="exact",
        at_most=0.0,
    ),
    claim(
        "4a",
        "Batch, layer, instance and group normalisation each read exactly the inputs that their definition names: "
        "largest share of inputs in which gradient and definition differ",
        examined("norm_mismatch"),
        of="exact",
        at_most=0.0,
    ),
    claim(
        "4b",
        "Batch, layer, instance and group normalisation leave mean 0 and variance 1 over the inputs that they read: "
        "largest error",
        examined("norm_moments_error"),
        of="exact",
        at_most=1e-4,
    ),
    claim(
        "4c",
        "Batch normalisation in evaluation reads no other image: largest change of an output by other images",
        examined("evaluation_reads_others"),
        of="exact",
        at_most=EXACT,
    ),
    claim(
        "5a",
        "The table model, a CNN of two convolutions, classifies digits: test accuracy",
        accuracy_on("digits"),
        of="table",
        at_least=0.95,
    ),
    claim(
        "5b",
        "The table model, a CNN of two convolutions, classifies CIFAR-10: test accuracy",
        accuracy_on("cifar10"),
        of="table",
        at_least=0.62,
    ),
    claim(
        "5c",
        "A residual network of three blocks classifies the run's data set (digits by default): test accuracy",
        examined("accuracy"),
        of="residual",
    ),
    claim(
        "6a",
        "A CNN beats an MLP with as many parameters: difference of test accuracies",
        accuracy_lead(CNN_NAME, mlp_name(1)),
        of="space",
        above=0.0,
    ),
    claim(
        "6b",
        "A CNN beats an MLP with four times its parameters: difference of test accuracies",
        accuracy_lead(CNN_NAME, mlp_name(4)),
        of="space",
        above=0.0,
    ),
    claim(
        "6c",
        "The smallest MLP that is as accurate as a CNN needs more parameters: parameters of the MLP over those of the "
        "CNN",
        parameters_to_match,
        of="space",
    ),
    claim(
        "6d",
        "Permuting the pixels and an MLP's first weights alike changes nothing in its training: largest difference of "
        "losses over 10 steps, in float64",
        examined("permuted_mlp_error"),
        of="exact",
        at_most=EXACT,
    ),
    claim(
        "6e",
        "An MLP learns images with permuted pixels as well as images in order: test accuracy on permuted images minus "
        "that on images in order",
        accuracy_lead(permuted_name(mlp_name(1)), mlp_name(1)),
        of="space",
        at_least=-0.03,
        at_most=0.03,
    ),
    claim(
        "6f",
        "A CNN learns images with permuted pixels less well than images in order: test accuracy on images in order "
        "minus that on permuted images",
        accuracy_lead(CNN_NAME, permuted_name(CNN_NAME)),
        of="space",
        at_least=0.01,
    ),
    claim(
        "6g",
        "A CNN keeps a larger share of its test accuracy than an MLP with as many parameters when images move by an "
        "eighth of their side: difference of the shares kept",
        share_kept_lead(CNN_NAME, mlp_name(1)),
        of="space",
        above=0.0,
    ),
    claim(
        "6h",
        "A CNN is not invariant to images moved by an eighth of their side: share of its test accuracy that it keeps",
        share_kept(CNN_NAME),
        of="space",
        at_most=0.95,
    ),
    claim(
        "7a",
        "From batches of 128 to batches of 2, batch normalisation loses more test accuracy than GroupNorm: difference "
        "of the accuracies lost",
        accuracy_loss_lead("batch", "group"),
        of=("norms_128", "norms_2"),
        above=0.0,
    ),
    claim(
        "7b",
        "At batches of 2, GroupNorm beats batch normalisation: difference of test accuracies",
        accuracy_lead("group", "batch"),
        of="norms_2",
        above=0.0,
    ),
    claim(
        "7c",
        "At batches of 128, batch normalisation beats no norm after equal steps: difference of test accuracies",
        accuracy_lead("batch", "none"),
        of="norms_128",
        above=0.0,
    ),
    claim(
        "7d",
        "At batches of 128, batch, layer, instance and group normalisation lie close together: highest minus lowest "
        "test accuracy",
        spread_of_norms,
        of="norms_128",
    ),
    claim(
        "8a",
        "Batch normalisation does not reduce internal covariate shift (a layer's gradient G becomes G' when earlier "
        "layers take their step): norm of G - G' over norm of G, with batch normalisation over without",
        shift_ratio("relative_shift"),
        of="shift",
        at_least=1.0,
    ),
    claim(
        "8b",
        "Batch normalisation does not turn a layer's gradient less than no norm does (a layer's gradient G becomes G' "
        "when earlier layers take their step): mean cosine of G and G' without batch normalisation minus with it",
        cosine_lead,
        of="shift",
        at_least=0.0,
    ),
    claim(
        "8c",
        "A CNN trains faster with batch normalisation than without a norm: training loss with it over loss without, "
        "after equal steps",
        final_loss_ratio,
        of="shift",
        below=1.0,
    ),
    claim(
        "8d",
        "Batch normalisation changes the norm of G - G' itself (a layer's gradient G becomes G' when earlier layers "
        "take their step): norm with batch normalisation over norm without",
        shift_ratio("shift"),
        of="shift",
    ),
    claim(
        "9a",
        "A CNN trained by SGD alone overfits a small training set: training accuracy minus test accuracy",
        mean_gap(SGD_ALONE),
        of="overfitting",
        at_least=0.05,
    ),
    claim(
        "9b",
        "Augmentation narrows the gap between training and test accuracy of a CNN on a small training set: gap of SGD "
        "alone minus gap with augmentation",
        gap_reduction(AUGMENTATION),
        of="overfitting",
        above=0.0,
    ),
    claim(
        "9c",
        "Dropout narrows the gap between training and test accuracy of a CNN on a small training set: gap of SGD alone "
        "minus gap with dropout",
        gap_reduction(DROPOUT),
        of="overfitting",
        above=0.0,
    ),
    claim(
        "9d",
        "Batch normalisation narrows the gap between training and test accuracy of a CNN on a small training set: gap "
        "of SGD alone minus gap with batch normalisation",
        gap_reduction(BATCH_NORM),
        of="overfitting",
        above=0.0,
    ),
    claim(
        "9e",
        "Adam in place of SGD does not narrow the gap between training and test accuracy of a CNN on a small training "
        "set: gap of SGD alone minus gap of Adam",
        gap_reduction(ADAM),
        of="overfitting",
        at_most=0.01,
    ),
    claim(
        "9f",
        "Augmentation raises the test accuracy of a CNN on a small training set: accuracy with augmentation minus "
        "accuracy of SGD alone",
        accuracy_lead(AUGMENTATION, SGD_ALONE),
        of="overfitting",
        above=0.0,
    ),
    claim(
        "9g",
        "Dropout changes the test accuracy of a CNN on a small training set: accuracy with dropout minus accuracy of "
        "SGD alone",
        accuracy_lead(DROPOUT, SGD_ALONE),
        of="overfitting",
    ),
    claim(
        "9h",
        "Batch normalisation changes the test accuracy of a CNN on a small training set: accuracy with batch "
        "normalisation minus accuracy of SGD alone",
        accuracy_lead(BATCH_NORM, SGD_ALONE),
        of="overfitting",
    ),
    claim(
        "9i",
        "Adam in place of SGD changes the test accuracy of a CNN on a small training set: accuracy of Adam minus "
        "accuracy of SGD alone",
        accuracy_lead(ADAM, SGD_ALONE),
        of="overfitting",
    ),
    claim(
        "10a",
        "Airbench, narrower than the original, classifies CIFAR-10: test accuracy",
        accuracy_on("cifar10", widths=(1, ORIGINAL_WIDTH - 1)),
        of="airbench",
        at_least=0.85,
    ),
    claim(
        "10b",
        "Airbench94 at its own width classifies CIFAR-10 in its original pixels: test accuracy",
        accuracy_on("cifar10", widths=(ORIGINAL_WIDTH, ORIGINAL_WIDTH), needs_original_pixels=True),
        of="airbench",
        at_least=0.94,
    ),
]
