//! What PyTorch, Captum and zennit say of more networks (`scripts/make-network-references`): odd sizes, ceiled pools,
//! gates, other activations, waveforms, recurrent layers in both directions, several inputs and outputs; from both
//! exporters.

use tests::{check_case, folder};

fn check(case: &str) {
    check_case(&folder("references/networks").join(case));
}

#[test]
fn pools_that_are_ceiled_over_odd_sizes() {
    check("vgg-b");
}

#[test]
fn residual_blocks_with_strided_projections() {
    check("residual-b");
}

#[test]
fn inverted_blocks_with_gates_and_other_activations() {
    check("mobile-b");
    check("mobile-c");
    check("mobile-d");
}

#[test]
fn speech_with_clipped_rectifiers_and_dilation() {
    check("speech-b");
}

#[test]
fn letters_from_a_waveform() {
    check("waveform");
}

#[test]
fn recurrent_layers_in_both_directions() {
    check("lstm-b");
    check("gru-b");
}

#[test]
fn layer_norms_and_gelu_among_convolutions() {
    check("convnext");
}

#[test]
fn several_inputs_and_outputs() {
    check("two-inputs");
}

#[test]
fn a_class_token_before_patches_and_attention_as_einsum() {
    check("vit");
    check("einsum");
}
