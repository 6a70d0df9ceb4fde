//! Queries as they are typed, and what becomes of them: the request that is sent, or the error with its caret.

use std::path::Path;

use expect_test::{Expect, expect};

use super::{Binder, parse};

/// What queries become when the model `m1` and the input `i1` are set and the folder is `/photos`.
#[track_caller]
fn check(text: &str, expected: Expect) {
    let binder = Binder { model: Some("m1"), input: Some("i1"), folder: Path::new("/photos") };
    expected.assert_eq(&sent(text, &binder));
}

/// The same where nothing is set.
#[track_caller]
fn check_unset(text: &str, expected: Expect) {
    expected.assert_eq(&sent(text, &Binder { model: None, input: None, folder: Path::new("/photos") }));
}

fn sent(text: &str, binder: &Binder) -> String {
    let statements = match parse(text) {
        Ok(statements) => statements,
        Err(error) => return error.render(text),
    };
    let lines = statements.iter().map(|statement| match binder.bind(statement) {
        Ok(call) => {
            let params = serde_json::to_string(&call.params).unwrap();
            let redirect = call.redirect.map(|file| format!(" > {}", file.display())).unwrap_or_default();
            format!("{} {params}{redirect}", call.method.name)
        }
        Err(error) => error.render(text),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_line_is_a_call() {
    check("predict top=3", expect![[""]]);
    check("model.predict", expect![[""]]);
    check("server.info", expect![[""]]);
    check("", expect![[""]]);
    check("  # only a comment", expect![[""]]);
    check("predict; server.stats # both\npredict top=1", expect![[""]]);
    check(";;predict;", expect![[""]]);
}

#[test]
fn model_and_input_load() {
    check_unset("model efficientnet-lite0", expect![[""]]);
    check_unset("model ./net.onnx name=mine merge_batch_norm=false", expect![[""]]);
    check_unset("model net.onnx labels=names.txt", expect![[""]]);
    check_unset("model random-net weights=random seed=7", expect![[""]]);
    check_unset("input cat.png", expect![[""]]);
    check_unset("input '/with space/cat.png'", expect![[""]]);
    check_unset("predict model=m2 input=dog.png", expect![[""]]);
    check_unset("predict model=m2 input=[a.png, b.png]", expect![[""]]);
}

#[test]
fn targets() {
    check("grad_cam tabby", expect![[""]]);
    check(r#"grad_cam layer=blocks.15 target="tiger cat" > cam.png"#, expect![[""]]);
    check("saliency target=281", expect![[""]]);
    check(r#"saliency target="281""#, expect![[""]]);
    check("saliency target=e@1.24", expect![[""]]);
    check("saliency @62f", expect![[""]]);
    check("saliency target=[tabby, 282, e@0.5]", expect![[""]]);
    check("saliency target={layer: conv5, channel: 17, position: [2, 3]}", expect![[""]]);
    check("saliency target={letter:3}", expect![[""]]);
    check("saliency target=e@soon", expect![[""]]);
}

#[test]
fn fields_of_an_object_stand_flat() {
    check("gradient kind=channel layer=blocks.7 channel=12", expect![[""]]);
    check("gradient objective.kind=neuron layer=12 channel=3 position=[4,5]", expect![[""]]);
    check("gradient kind=logit class=tabby colormap=gray", expect![[""]]);
    check("gradient objective={kind: logit, class: 281}", expect![[""]]);
    check("gradient kind=logit objective={kind: logit}", expect![[""]]);
    check("gradient objective={kind: logit} class=3", expect![[""]]);
}

#[test]
fn values() {
    check("activation.get conv1 channels=3 frames=[0,10]", expect![[""]]);
    check("activation.get 12 reduce=max", expect![[""]]);
    check("activation.get layer=[a, b] encoding=json timeout=1.5 background=true", expect![[""]]);
    check(r#"activation.get "a \"quoted\" é\u00e9""#, expect![[""]]);
    check(r"activation.get 'as it is \n'", expect![[""]]);
    check("activation.get [a,\n b]", expect![[""]]);
}

#[test]
fn mistakes_in_how_it_is_written() {
    check("predict \"tabby", expect![[""]]);
    check("grad_cam layer=conv3 target=", expect![[""]]);
    check("grad_cam layer=[a, b", expect![[""]]);
    check("grad_cam target={class 3}", expect![[""]]);
    check("grad_cam target={class: 3", expect![[""]]);
    check("grad_cam layer=[a b]", expect![[""]]);
    check("grad_cam > a.png b.png", expect![[""]]);
    check("grad_cam >", expect![[""]]);
    check("grad_cam > a.png > b.png", expect![[""]]);
    check("top=3", expect![[""]]);
    check("> a.png", expect![[""]]);
    check(r#"grad_cam "tiger"cat"#, expect![[""]]);
    check(r#"grad_cam "\q""#, expect![[""]]);
    check("server.info\npredict é=\"", expect![[""]]);
}

#[test]
fn mistakes_in_what_is_meant() {
    check("grad_kam tabby", expect![[""]]);
    check("load x", expect![[""]]);
    check("xyzzy", expect![[""]]);
    check("grad_cam layr=conv3", expect![[""]]);
    check("grad_cam tiger cat", expect![[""]]);
    check("grad_cam tabby target=tabby", expect![[""]]);
    check("grad_cam layer=a layer=b", expect![[""]]);
    check("server.info now", expect![[""]]);
    check("predict top=many", expect![[""]]);
    check("grad_cam interpolation=bilinaer", expect![[""]]);
    check("grad_cam relu=3", expect![[""]]);
    check("activation.get", expect![[""]]);
    check_unset("predict", expect![[""]]);
    check_unset("predict model=m2", expect![[""]]);
}

#[test]
fn lists_are_not_followed_without_end() {
    let error = parse(&format!("predict input={}", "[".repeat(100_000))).unwrap_err();
    assert_eq!(error.message, "lists and objects lie in one another more than 64 deep");
}

/// Every piece of queries that hold every mark, so that no cut leaves the parser or the caret outside the text.
#[test]
fn no_cut_of_a_query_panics() {
    let whole = r#"grad_cam "tiger \"é\" cat" layer=[a, 'b', {é: "ü"}] target={class: é@1.5} # é; é
    predict é=é > "é.png"; "#;
    let cuts: Vec<usize> = (0..=whole.len()).filter(|&cut| whole.is_char_boundary(cut)).collect();
    let binder = Binder { model: None, input: None, folder: Path::new("/photos") };
    for (index, &start) in cuts.iter().enumerate() {
        for &end in &cuts[index..] {
            let rendered = sent(&whole[start..end], &binder);
            let nothing = whole[start..end].trim_start().trim_matches(';').trim();
            assert!(!rendered.is_empty() || nothing.is_empty() || nothing.starts_with('#'), "{nothing:?}");
        }
    }
}
