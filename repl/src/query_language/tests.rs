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
    check("predict top=3", expect![[r#"model.predict {"input":"i1","model":"m1","top":3}"#]]);
    check("model.predict", expect![[r#"model.predict {"input":"i1","model":"m1"}"#]]);
    check("server.info", expect!["server.info {}"]);
    check("", expect![[""]]);
    check("  # only a comment", expect![[""]]);
    check(
        "predict; server.stats # both\npredict top=1",
        expect![[r#"
        model.predict {"input":"i1","model":"m1"}
        server.stats {}
        model.predict {"input":"i1","model":"m1","top":1}"#]],
    );
    check(";;predict;", expect![[r#"model.predict {"input":"i1","model":"m1"}"#]]);
}

#[test]
fn model_and_input_load() {
    check_unset("model efficientnet-lite0", expect![[r#"model.load {"source":"efficientnet-lite0"}"#]]);
    check_unset(
        "model ./net.onnx name=mine merge_batch_norm=false",
        expect![[r#"model.load {"merge_batch_norm":false,"name":"mine","source":"/photos/net.onnx"}"#]],
    );
    check_unset(
        "model net.onnx labels=names.txt",
        expect![[r#"model.load {"labels":"/photos/names.txt","source":"/photos/net.onnx"}"#]],
    );
    check_unset(
        "model random-net weights=random seed=7",
        expect![[r#"model.load {"seed":7,"source":"random-net","weights":"random"}"#]],
    );
    check_unset("input cat.png", expect![[r#"input.load {"path":"/photos/cat.png"}"#]]);
    check_unset("input '/with space/cat.png'", expect![[r#"input.load {"path":"/with space/cat.png"}"#]]);
    check_unset(
        "predict model=m2 input=dog.png",
        expect![[r#"model.predict {"input":"/photos/dog.png","model":"m2"}"#]],
    );
    check_unset(
        "predict model=m2 input=[a.png, b.png]",
        expect![[r#"model.predict {"input":["/photos/a.png","/photos/b.png"],"model":"m2"}"#]],
    );
}

#[test]
fn targets() {
    check("grad_cam tabby", expect![[r#"attribution.grad_cam {"input":"i1","model":"m1","target":"tabby"}"#]]);
    check(
        r#"grad_cam layer=blocks.15 target="tiger cat" > cam.png"#,
        expect![[
            r#"attribution.grad_cam {"input":"i1","layer":"blocks.15","model":"m1","target":"tiger cat"} > /photos/cam.png"#
        ]],
    );
    check("saliency target=281", expect![[r#"attribution.saliency {"input":"i1","model":"m1","target":281}"#]]);
    check(r#"saliency target="281""#, expect![[r#"attribution.saliency {"input":"i1","model":"m1","target":"281"}"#]]);
    check(
        "saliency target=e@1.24",
        expect![[r#"attribution.saliency {"input":"i1","model":"m1","target":{"class":"e","time":1.24}}"#]],
    );
    check("saliency @62f", expect![[r#"attribution.saliency {"input":"i1","model":"m1","target":{"frame":62}}"#]]);
    check(
        "saliency target=[tabby, 282, e@0.5]",
        expect![[
            r#"attribution.saliency {"input":"i1","model":"m1","target":["tabby",282,{"class":"e","time":0.5}]}"#
        ]],
    );
    check(
        "saliency target={layer: conv5, channel: 17, position: [2, 3]}",
        expect![[
            r#"attribution.saliency {"input":"i1","model":"m1","target":{"channel":17,"layer":"conv5","position":[2,3]}}"#
        ]],
    );
    check(
        "saliency target={letter:3}",
        expect![[r#"attribution.saliency {"input":"i1","model":"m1","target":{"letter":3}}"#]],
    );
    check(
        "saliency target=e@soon",
        expect![[r#"
        error: `soon` behind the @ is no place; `e@1.24` is a time in seconds, `e@62f` an output frame
          saliency target=e@soon
                          ^^^^^^"#]],
    );
}

#[test]
fn several_inputs_and_outputs_have_names() {
    check(
        "saliency input={image=cat.png, facts=9f01} at=facts target={output=age, class=3}",
        expect![[r#"
            error: an object's field is written `name: value`
              saliency input={image=cat.png, facts=9f01} at=facts target={output=age, class=3}
                                           ^"#]],
    );
}

#[test]
fn fields_of_an_object_stand_flat() {
    check(
        "gradient kind=channel layer=blocks.7 channel=12",
        expect![[
            r#"visualization.gradient {"input":"i1","model":"m1","objective":{"channel":12,"kind":"channel","layer":"blocks.7"}}"#
        ]],
    );
    check(
        "gradient objective.kind=neuron layer=12 channel=3 position=[4,5]",
        expect![[
            r#"visualization.gradient {"input":"i1","model":"m1","objective":{"channel":3,"kind":"neuron","layer":"12","position":[4,5]}}"#
        ]],
    );
    check(
        "gradient kind=logit class=tabby colormap=gray",
        expect![[
            r#"visualization.gradient {"input":"i1","model":"m1","objective":{"class":"tabby","kind":"logit"},"picture":{"colormap":"gray"}}"#
        ]],
    );
    check(
        "gradient objective={kind: logit, class: 281}",
        expect![[r#"visualization.gradient {"input":"i1","model":"m1","objective":{"class":281,"kind":"logit"}}"#]],
    );
    check(
        "gradient kind=logit objective={kind: logit}",
        expect![[r#"
        error: `objective` is given twice
          gradient kind=logit objective={kind: logit}
                              ^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    check(
        "gradient objective={kind: logit} class=3",
        expect![[r#"visualization.gradient {"input":"i1","model":"m1","objective":{"class":3,"kind":"logit"}}"#]],
    );
}

#[test]
fn values() {
    check(
        "activation.get conv1 channels=3 frames=[0,10]",
        expect![[r#"activation.get {"channels":[3],"frames":[0,10],"input":"i1","layer":"conv1","model":"m1"}"#]],
    );
    check(
        "activation.get 12 reduce=max",
        expect![[r#"activation.get {"input":"i1","layer":"12","model":"m1","reduce":"max"}"#]],
    );
    check(
        "activation.get layer=[a, b] encoding=json timeout=1.5 background=true",
        expect![[
            r#"activation.get {"background":true,"encoding":"json","input":"i1","layer":["a","b"],"model":"m1","timeout":1.5}"#
        ]],
    );
    check(
        r#"activation.get "a \"quoted\" é\u00e9""#,
        expect![[r#"activation.get {"input":"i1","layer":"a \"quoted\" éé","model":"m1"}"#]],
    );
    check(
        r"activation.get 'as it is \n'",
        expect![[r#"activation.get {"input":"i1","layer":"as it is \\n","model":"m1"}"#]],
    );
    check("activation.get [a,\n b]", expect![[r#"activation.get {"input":"i1","layer":["a","b"],"model":"m1"}"#]]);
}

#[test]
fn mistakes_in_how_it_is_written() {
    check(
        "predict \"tabby",
        expect![[r#"
        error: this text has no closing "
          predict "tabby
                  ^"#]],
    );
    check(
        "grad_cam layer=conv3 target=",
        expect![[r#"
        error: a value must stand behind `target=`
          grad_cam layer=conv3 target=
                                      ^"#]],
    );
    check(
        "grad_cam layer=[a, b",
        expect![[r#"
        error: this `[` has no closing `]`
          grad_cam layer=[a, b
                         ^"#]],
    );
    check(
        "grad_cam target={class 3}",
        expect![[r#"
        error: an object's field is written `name: value`
          grad_cam target={class 3}
                                 ^"#]],
    );
    check(
        "grad_cam target={class: 3",
        expect![[r#"
        error: this `{` has no closing `}`
          grad_cam target={class: 3
                          ^"#]],
    );
    check(
        "grad_cam layer=[a b]",
        expect![[r#"
        error: `,` or `]` must stand here
          grad_cam layer=[a b]
                            ^"#]],
    );
    check(
        "grad_cam > a.png b.png",
        expect![[r#"
        error: nothing may follow the file of a `>`
          grad_cam > a.png b.png
                           ^^^^^
        hint: quote a file's name that has spaces; `;` starts another query"#]],
    );
    check(
        "grad_cam >",
        expect![[r#"
        error: `>` needs a file's name
          grad_cam >
                   ^
        hint: for instance `> cam.png`"#]],
    );
    check(
        "grad_cam > a.png > b.png",
        expect![[r#"
        error: a result is written to one file only
          grad_cam > a.png > b.png
                           ^"#]],
    );
    check(
        "top=3",
        expect![[r#"
        error: `top=` stands first, where a method's name must stand
          top=3
          ^^^^^
        hint: for instance `predict top=3`"#]],
    );
    check(
        "> a.png",
        expect![[r#"
        error: a method's name must stand first
          > a.png
          ^
        hint: `help` lists the methods"#]],
    );
    check(
        r#"grad_cam "tiger"cat"#,
        expect![[r#"
        error: `c` stands right behind a value
          grad_cam "tiger"cat
                          ^
        hint: a space separates arguments; quote a whole name"#]],
    );
    check(
        r#"grad_cam "\q""#,
        expect![[r#"
        error: this text has an escape that JSON does not know
          grad_cam "\q"
                   ^^^^
        hint: `\\` is a backslash, `\"` a quote; '…' takes all as it is"#]],
    );
    check(
        "server.info\npredict é=\"",
        expect![[r#"
        error: this text has no closing "
          predict é="
                    ^"#]],
    );
}

#[test]
fn mistakes_in_what_is_meant() {
    check(
        "grad_kam tabby",
        expect![[r#"
        error: there is no method `grad_kam`
          grad_kam tabby
          ^^^^^^^^
        hint: did you mean `grad_cam`?"#]],
    );
    check(
        "load x",
        expect![[r#"
            error: `load` is the last part of several methods' names
              load x
              ^^^^
            hint: write model.load or input.load or corpus.load"#]],
    );
    check(
        "xyzzy",
        expect![[r#"
        error: there is no method `xyzzy`
          xyzzy
          ^^^^^
        hint: `help` lists the methods"#]],
    );
    check(
        "grad_cam layr=conv3",
        expect![[r#"
            error: `attribution.grad_cam` has no parameter `layr`; it takes at, background, check, crop, encoding, input, interpolation, layer, model, of, picture, relu, target, timeout, upsample, watch
              grad_cam layr=conv3
                       ^^^^
            hint: did you mean `layer`?"#]],
    );
    check(
        "grad_cam tiger cat",
        expect![[r#"
        error: `attribution.grad_cam` takes one value without a key, its `target`
          grad_cam tiger cat
                         ^^^
        hint: quote a name that has spaces: "tiger cat""#]],
    );
    check(
        "grad_cam tabby target=tabby",
        expect![[r#"
        error: `target` is given twice
          grad_cam tabby target=tabby
                         ^^^^^^^^^^^^"#]],
    );
    check(
        "grad_cam layer=a layer=b",
        expect![[r#"
        error: `layer` is given twice
          grad_cam layer=a layer=b
                           ^^^^^^^"#]],
    );
    check(
        "server.info now",
        expect![[r#"
        error: `server.info` takes no value without a key
          server.info now
                      ^^^
        hint: it takes no parameters"#]],
    );
    check(
        "predict top=many",
        expect![[r#"
        error: `top` must be a whole number from 0, not "many"
          predict top=many
                  ^^^^^^^^"#]],
    );
    check(
        "grad_cam interpolation=bilinaer",
        expect![[r#"
        error: `interpolation` must be one of "bilinear", "nearest", not "bilinaer"; did you mean `bilinear`?
          grad_cam interpolation=bilinaer
                   ^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    check(
        "grad_cam relu=3",
        expect![[r#"
        error: `relu` must be true or false, not 3
          grad_cam relu=3
                   ^^^^^^"#]],
    );
    check(
        "activation.get",
        expect![[r#"
        error: `activation.get` needs `layer`: one layer or a list
          activation.get
          ^^^^^^^^^^^^^^"#]],
    );
    check_unset(
        "predict",
        expect![[r#"
        error: `model.predict` needs a model, and none is set
          predict
          ^^^^^^^
        hint: `model NAME` sets one for all later lines"#]],
    );
    check_unset(
        "predict model=m2",
        expect![[r#"
        error: `model.predict` needs an input, and none is set
          predict model=m2
          ^^^^^^^
        hint: `input FILE` sets one for all later lines"#]],
    );
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
