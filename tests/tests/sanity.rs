//! Sanity checks and metrics through a running daemon: on a small network, on a network of speech's kind, and on
//! EfficientNet-Lite0 with photos, where gradients must react and guided backpropagation must not.

use serde_json::{Value, json};
use tests::{Daemon, cached, folder, numbers};

/// A daemon with a small network of convolutions, and its input.
fn small(case: &str) -> (Daemon, String) {
    let daemon = Daemon::start(&[]);
    let file = |name: &str| folder("golden").join(case).join(name).display().to_string();
    daemon.result("model.load", json!({"source": file("model.onnx"), "name": "net"}));
    (daemon, file("input.npy"))
}

fn with(base: &Value, more: Value) -> Value {
    let mut params = base.clone();
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

/// The means of a metric along a curve.
fn means(answer: &Value, metric: &str) -> Vec<f64> {
    let of_step = |step: &Value| {
        let similar = step["similarities"].as_array().unwrap().iter().find(|similar| similar["metric"] == metric);
        similar.unwrap()["mean"].as_f64().unwrap()
    };
    answer["curve"].as_array().unwrap().iter().map(of_step).collect()
}

fn names(answer: &Value) -> Vec<&str> {
    answer["curve"].as_array().unwrap().iter().map(|step| step["layer"].as_str().unwrap()).collect()
}

#[test]
fn a_curve_begins_with_the_original_and_is_the_same_again() {
    let (daemon, input) = small("vgg-a");
    let base = json!({"model": "net", "input": [input], "method": "saliency", "by": "layer"});
    let answer = daemon.result("sanity.randomize", with(&base, json!({"picture": {"format": "svg"}})));
    assert_eq!(names(&answer)[0], "original");
    assert_eq!(means(&answer, "spearman_abs")[0], 1.0);
    assert!(means(&answer, "spearman_abs")[1..].iter().all(|similarity| *similarity < 0.9), "{answer}");
    assert_eq!(answer["settings"]["explain"], "original");
    assert!(answer["picture"]["data"].as_str().unwrap().starts_with("<svg"));
    let again = daemon.result("sanity.randomize", base.clone());
    assert_eq!(answer["curve"], again["curve"]);
    let other = daemon.result("sanity.randomize", with(&base, json!({"seed": 1})));
    assert_ne!(answer["curve"], other["curve"]);
    // The held network is as it was.
    let forward = json!({"model": "net", "input": input});
    let before = numbers(&daemon.result("model.forward", forward.clone())["tensor"]);
    daemon.result("sanity.randomize", with(&base, json!({"mode": "independent"})));
    assert_eq!(numbers(&daemon.result("model.forward", forward)["tensor"]), before);
}

#[test]
fn the_first_step_alone_is_the_first_of_a_cascade() {
    let (daemon, input) = small("residual-a");
    let base = json!({"model": "net", "input": input, "method": "input_x_gradient", "by": "layer"});
    let cascading = daemon.result("sanity.randomize", base.clone());
    let independent = daemon.result("sanity.randomize", with(&base, json!({"mode": "independent"})));
    assert_eq!(cascading["curve"][1], independent["curve"][1]);
    assert_ne!(cascading["curve"][2], independent["curve"][2]);
    let top = names(&cascading)[1].to_owned();
    let named = daemon.result("sanity.randomize", with(&base, json!({"layers": [top]})));
    assert_eq!(named["curve"].as_array().unwrap().len(), 2);
    assert_eq!(named["curve"][1]["similarities"], cascading["curve"][1]["similarities"]);
}

#[test]
fn a_class_can_be_given_or_that_of_each_network() {
    let (daemon, input) = small("vgg-a");
    let base = json!({"model": "net", "input": input, "method": "guided_backprop"});
    let explain = |more: Value| daemon.result("sanity.randomize", with(&base, more))["settings"]["explain"].clone();
    assert_eq!(explain(json!({"explain": "randomized"})), "randomized");
    assert_eq!(explain(json!({"target": 1})), "target");
    let refusal = |more: Value| daemon.refusal("sanity.randomize", with(&base, more));
    assert!(refusal(json!({"explain": "target"})).contains("none is given"));
    assert!(refusal(json!({"explain": "original", "target": 1})).contains("leave `explain` out"));
}

#[test]
fn networks_along_time_and_through_time() {
    for (case, method) in [("speech-a", "saliency"), ("lstm-a", "input_x_gradient")] {
        let (daemon, input) = small(case);
        let params = json!({"model": "net", "input": input, "method": method, "by": "layer"});
        let answer = daemon.result("sanity.randomize", params);
        let curve = means(&answer, "spearman_abs");
        assert!(curve.len() > 2 && curve[0] == 1.0 && *curve.last().unwrap() < 0.9, "{case}: {curve:?}");
    }
}

#[test]
fn sanity_checks_that_make_no_sense() {
    let (daemon, input) = small("vgg-a");
    let base = json!({"model": "net", "input": input, "method": "saliency"});
    let refusal = |more: Value| daemon.refusal("sanity.randomize", with(&base, more));
    assert!(refusal(json!({"method": "salency"})).contains("did you mean `saliency`"));
    assert!(refusal(json!({"method": "model.predict"})).contains("no attribution"));
    assert!(refusal(json!({"layers": ["nonsense"]})).contains("no layer `nonsense`"));
    assert!(refusal(json!({"layers": []})).contains("empty"));
    assert!(refusal(json!({"input": []})).contains("empty"));
    assert!(refusal(json!({"metrics": []})).contains("empty"));
    assert!(refusal(json!({"metrics": ["psnr"]})).contains("\"ssim\""));
    assert!(refusal(json!({"mode": "upwards"})).contains("cascading"));
    assert!(refusal(json!({"samples": 3})).contains("no parameter `samples`"));
    assert!(refusal(json!({"crop": true})).contains("no parameter `crop`"));
    assert!(refusal(json!({"method": "grad_cam", "layer": "nonsense"})).contains("no layer `nonsense`"));
    assert!(refusal(json!({"method": "smooth_grad", "params": {"samples": 0}})).contains("`samples` is 0"));
    assert!(refusal(json!({"target": 99999})).contains("out of range"));
    let other = folder("golden/residual-a/model.onnx").display().to_string();
    daemon.result("model.load", json!({"source": other, "name": "other"}));
    let message = daemon.refusal("sanity.data_randomization", with(&base, json!({"permuted": "other"})));
    assert!(message.contains("different architectures"), "{message}");
    let message = daemon.refusal("sanity.data_randomization", with(&base, json!({"permuted": "nobody"})));
    assert!(message.contains("no model `nobody`"), "{message}");
}

#[test]
fn a_network_is_like_itself_and_unlike_another_training() {
    let (daemon, input) = small("vgg-a");
    let base = json!({"model": "net", "input": [input, input], "method": "saliency"});
    let same = daemon.result("sanity.data_randomization", with(&base, json!({"permuted": "net"})));
    for similar in same["similarities"].as_array().unwrap() {
        assert!((similar["mean"].as_f64().unwrap() - 1.0).abs() < 1e-12 && similar["std"] == 0.0, "{same}");
    }
}

#[test]
fn a_job_can_be_cancelled() {
    let (daemon, input) = small("vgg-a");
    let params =
        json!({"model": "net", "input": input, "method": "smooth_grad", "samples": 100000, "background": true});
    let job = daemon.result("sanity.randomize", params)["job"].clone();
    assert_eq!(daemon.result("job.cancel", json!({"job": job}))["cancelled"], true);
    let mut state = Value::Null;
    for _ in 0..500 {
        state = daemon.result("job.get", json!({"job": job}))["state"].clone();
        if state != "running" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(state, "cancelled");
}

#[test]
fn metrics_say_what_they_promise() {
    let (daemon, input) = small("vgg-a");
    let base = json!({"model": "net", "input": input});
    let ask = |metric: &str, more: Value| daemon.result(&format!("metric.{metric}"), with(&base, more));
    let complete = ask("completeness", json!({"method": "integrated_gradients", "steps": 200}));
    assert!(complete["completeness"]["relative_gap"].as_f64().unwrap().abs() < 0.01, "{complete}");
    let kept = ask("completeness", json!({"method": "lrp", "composite": "epsilon", "zero_bias": true}));
    let [gap, score] = ["conservation_gap", "score"].map(|field| kept["completeness"][field].as_f64().unwrap());
    assert!(gap.abs() < 1e-3 * score.abs(), "{kept}");
    let spread = ask("sparseness", json!({"method": "grad_cam"}));
    let gini = spread["spread"]["sparseness"].as_f64().unwrap();
    assert!((0.0..1.0).contains(&gini), "{spread}");
    let sensitivity = ask("max_sensitivity", json!({"method": "saliency", "draws": 5}));
    assert!(sensitivity["max"].as_f64() >= sensitivity["mean"].as_f64(), "{sensitivity}");
    let few = ask("max_sensitivity", json!({"method": "saliency", "draws": 5, "radius": 1e-6}));
    assert!(few["max"].as_f64().unwrap() < sensitivity["max"].as_f64().unwrap());
    let other = ask("random_logit", json!({"method": "saliency", "draws": 3, "metrics": ["spearman"]}));
    assert_eq!(other["other_classes"][0].as_array().unwrap().len(), 3);
    assert_eq!(other["similarities"][0]["values"].as_array().unwrap().len(), 3);
    let mprt = ask("mprt", json!({"method": "saliency", "layer_order": "bottom_up"}));
    assert_eq!(means(&mprt, "spearman_abs")[0], 1.0);
    let smooth = ask("mprt", json!({"method": "saliency", "variant": "smooth", "copies": 4}));
    assert_eq!(names(&smooth), names(&mprt));
    let efficient = ask("mprt", json!({"method": "saliency", "variant": "efficient"}));
    let [before, after, score] =
        ["before", "after", "score"].map(|field| efficient["entropies"][field].as_f64().unwrap());
    assert!((score - (after - before) / before).abs() < 1e-12);
    let flipping = ask("pixel_flipping", json!({"method": "occlusion", "picture": {}}));
    let scores = flipping["curve"]["scores"].as_array().unwrap();
    assert_eq!(scores.len(), flipping["curve"]["flipped"].as_array().unwrap().len());
    assert!(flipping["picture"]["data"].is_string());
}

#[test]
fn metrics_that_make_no_sense() {
    let (daemon, input) = small("vgg-a");
    let base = json!({"model": "net", "input": input, "method": "saliency"});
    let refusal = |metric: &str, more: Value| daemon.refusal(&format!("metric.{metric}"), with(&base, more));
    assert!(refusal("max_sensitivity", json!({"draws": 0})).contains("`draws` is 0"));
    assert!(refusal("max_sensitivity", json!({"radius": -1})).contains("`radius` is -1"));
    assert!(refusal("random_logit", json!({"draws": 0})).contains("`draws` is 0"));
    assert!(refusal("pixel_flipping", json!({"features_per_step": 0})).contains("`features_per_step` is 0"));
    assert!(refusal("mprt", json!({"copies": 0})).contains("`copies` is 0"));
    assert!(refusal("mprt", json!({"metrics": []})).contains("empty"));
    assert!(refusal("sparseness", json!({"method": "predict"})).contains("no attribution"));
    assert!(refusal("sparseness", json!({"input": []})).contains("empty"));
    let inner = json!({"method": "grad_cam", "upsample": false});
    assert!(refusal("pixel_flipping", inner).contains("needs a map of the input's shape"));
}

#[test]
fn check_adds_numbers_to_every_attribution() {
    let (daemon, input) = small("vgg-a");
    let base = json!({"model": "net", "input": input, "check": true});
    let checks = |method: &str, more: Value| {
        daemon.result(&format!("attribution.{method}"), with(&base, more))["checks"].clone()
    };
    for method in ["saliency", "guided_backprop", "grad_cam", "occlusion"] {
        let checks = checks(method, json!({}));
        assert!(checks["sparseness"].is_number() && checks["complexity"].is_number(), "{method}: {checks}");
        assert!(checks.get("completeness_gap").is_none(), "{method} promises nothing");
    }
    for (method, more) in [
        ("integrated_gradients", json!({})),
        ("deep_lift", json!({"max_pool": "cross_max"})),
        ("lrp", json!({"composite": "epsilon", "zero_bias": true})),
    ] {
        let checks = checks(method, more);
        let [gap, sum] = ["completeness_gap", "sum"].map(|field| checks[field].as_f64().unwrap());
        assert!(gap.abs() < 0.05 * sum.abs(), "{method}: {checks}");
    }
    let of_list = checks("saliency", json!({"target": [0, 1, 2]}));
    assert_eq!(of_list.as_array().unwrap().len(), 3);
    let without = daemon.result("attribution.saliency", json!({"model": "net", "input": input}));
    assert!(without.get("checks").is_none());
}

/// Adebayo et al. 2018, figure 4: the gradient and Grad-CAM react as soon as the logits are randomised, guided
/// backpropagation hardly while it is higher layers that are.
#[test]
fn on_photos_gradients_react_and_guided_backpropagation_does_not() {
    let Some(_) = cached("models/efficientnet-lite0.pth") else { return };
    let photos: Option<Vec<_>> =
        ["coffee.png", "chelsea.png"].map(|name| cached(&format!("photos/{name}"))).into_iter().collect();
    let Some(photos) = photos else { return };
    let daemon = Daemon::start(&[]);
    let model = daemon.result("model.load", json!({"source": "efficientnet-lite0"}))["model"].clone();
    let photos: Vec<String> = photos.iter().map(|path| path.display().to_string()).collect();
    let layers = ["fc", "conv_head", "blocks.15", "blocks.14"];
    let curve = |method: &str| {
        let params = json!({"model": model, "input": photos, "method": method, "layers": layers});
        let answer = daemon.result("sanity.randomize", params);
        assert_eq!(names(&answer), ["original", "fc", "conv_head", "blocks.15", "blocks.14"]);
        means(&answer, "ssim")
    };
    let (gradient, guided) = (curve("saliency"), curve("guided_backprop"));
    println!("{gradient:?} {guided:?}");
    assert!(gradient[1..].iter().zip(&guided[1..]).all(|(gradient, guided)| guided > gradient));
}
