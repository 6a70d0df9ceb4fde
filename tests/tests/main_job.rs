//! The main job: a real network asked about real photos.

use serde_json::{Value, json};
use tests::{Daemon, cached, numbers};

/// The daemon with the network loaded, and a photo's path; nothing where they were not fetched.
fn asked(photo: &str) -> Option<(Daemon, String)> {
    cached("models/efficientnet-lite0.pth")?;
    let photo = cached(&format!("photos/{photo}"))?.display().to_string();
    let daemon = Daemon::start(&[]);
    daemon.result("model.load", json!({"source": "efficientnet-lite0"}));
    Some((daemon, photo))
}

fn params(photo: &str, more: Value) -> Value {
    let mut params = json!({"model": "efficientnet-lite0", "input": photo});
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

fn forward_passes(daemon: &Daemon) -> u64 {
    daemon.result("server.stats", json!({}))["forward_passes"].as_u64().unwrap()
}

#[test]
fn a_cup_of_espresso_is_espresso() {
    let Some((daemon, photo)) = asked("coffee.png") else { return };
    let best = daemon.result("model.predict", params(&photo, json!({})))["classes"][0].clone();
    assert_eq!(best["label"], "espresso");
    assert!((best["probability"].as_f64().unwrap() - 0.95).abs() < 0.01, "{best}");
}

#[test]
fn a_cat_is_a_cat() {
    let Some((daemon, photo)) = asked("chelsea.png") else { return };
    let classes = daemon.result("model.predict", params(&photo, json!({"top": 3})))["classes"].clone();
    let names: Vec<&str> = classes.as_array().unwrap().iter().map(|class| class["label"].as_str().unwrap()).collect();
    assert!(names.iter().all(|name| ["tabby", "tiger cat", "Egyptian cat"].contains(name)), "{names:?}");
}

#[test]
fn another_layer_needs_no_forward_pass_and_a_cached_answer_is_the_same_to_the_bit() {
    let Some((daemon, photo)) = asked("coffee.png") else { return };
    let fresh = daemon.result("attribution.grad_cam", params(&photo, json!({})));
    assert_eq!(forward_passes(&daemon), 1);
    daemon.result("attribution.grad_cam", params(&photo, json!({"layer": "blocks.10"})));
    let again = daemon.result("attribution.grad_cam", params(&photo, json!({})));
    assert_eq!(forward_passes(&daemon), 1);
    assert_eq!(fresh["tensor"]["data"], again["tensor"]["data"]);
    let traces = daemon.result("server.stats", json!({}))["caches"][2].clone();
    assert_eq!((traces["hits"].as_u64(), traces["misses"].as_u64()), (Some(2), Some(1)));
}

#[test]
fn grad_cam_looks_at_the_coffee() {
    let Some((daemon, photo)) = asked("coffee.png") else { return };
    let answer = daemon.result("attribution.grad_cam", params(&photo, json!({})));
    let (shape, map) = numbers(&answer["tensor"]);
    assert_eq!(shape, [224, 224]);
    // The coffee fills rows 40 to 110 and columns 45 to 170 of the crop: a seventh of it.
    let in_cup: f32 = (40..110).flat_map(|row| &map[row * 224 + 45..row * 224 + 170]).sum();
    assert!(in_cup > 0.45 * map.iter().sum::<f32>(), "{in_cup} of {}", map.iter().sum::<f32>());
    assert_eq!(answer["target"]["label"], "espresso");
    assert_eq!(answer["settings"]["layer"], "conv_head");
}

#[test]
fn many_targets_are_one_walk_and_each_is_as_if_asked_alone() {
    let Some((daemon, photo)) = asked("chelsea.png") else { return };
    let together =
        daemon.result("attribution.saliency", params(&photo, json!({"target": ["tabby", "tiger cat", 285]})));
    assert_eq!(together["tensor"]["axes"][0]["name"], "target");
    let (shape, all) = numbers(&together["tensor"]);
    assert_eq!(shape, [3, 3, 224, 224]);
    let (_, alone) = numbers(
        &daemon.result("attribution.saliency", params(&photo, json!({"target": {"class": "tiger cat"}})))["tensor"],
    );
    let largest = alone.iter().fold(0.0f32, |largest, number| largest.max(number.abs()));
    let second = &all[alone.len()..2 * alone.len()];
    assert!(second.iter().zip(&alone).all(|(a, b)| (a - b).abs() <= 1e-5 * largest));
    assert_eq!(daemon.result("server.stats", json!({}))["backward_walks"], 2);
}

#[test]
fn pictures_come_with_answers() {
    let Some((daemon, photo)) = asked("coffee.png") else { return };
    let methods = [
        "model.predict",
        "attribution.saliency",
        "attribution.guided_backprop",
        "attribution.grad_cam",
        "attribution.guided_grad_cam",
    ];
    for method in methods {
        let png = daemon.result(method, params(&photo, json!({"picture": {}})))["picture"].clone();
        use base64::Engine;
        let bytes = base64::engine::general_purpose::STANDARD.decode(png["data"].as_str().unwrap()).unwrap();
        let picture = image::load_from_memory(&bytes).unwrap().to_rgb8();
        let colors: std::collections::HashSet<[u8; 3]> = picture.pixels().map(|pixel| pixel.0).collect();
        assert!(picture.width() >= 600 && colors.len() > 16, "{method}");
        let svg = daemon.result(method, params(&photo, json!({"picture": {"format": "svg", "colormap": "viridis"}})))["picture"].clone();
        assert!(svg["data"].as_str().unwrap().starts_with("<svg"), "{method}");
    }
}

#[test]
fn layers_are_named_as_modules_and_containers_mean_their_last_node() {
    let Some((daemon, photo)) = asked("coffee.png") else { return };
    let described = daemon.result("model.describe", json!({"model": "efficientnet-lite0"}));
    let layer = |name: &str| {
        described["layers"].as_array().unwrap().iter().find(|layer| layer["name"] == name).unwrap().clone()
    };
    let project = layer("blocks.15.project_conv");
    assert_eq!(project["shape"], json!([320, 7, 7]));
    assert_eq!(project["stride"], json!([32.0, 32.0]));
    assert!(project["aliases"].as_array().unwrap().contains(&json!("blocks.15.bn2")));
    let mean = |layer: &str| {
        daemon.result("activation.get", params(&photo, json!({"layer": layer, "reduce": "mean"})))["tensor"]["data"]
            .clone()
    };
    assert_eq!(mean("blocks.15"), mean("blocks.15.bn2"));
}

#[test]
fn unmerged_batch_norms_give_the_same_answer_and_layers_of_their_own() {
    let Some((daemon, photo)) = asked("coffee.png") else { return };
    daemon.result("model.load", json!({"source": "efficientnet-lite0", "merge_batch_norm": false, "name": "apart"}));
    let logits =
        |model: &str| numbers(&daemon.result("model.forward", json!({"model": model, "input": photo}))["tensor"]).1;
    let merged = daemon.result("model.list", json!({}))["models"][0]["model"].as_str().unwrap().to_owned();
    let (merged, apart) = (logits(&merged), logits("apart"));
    assert!(merged.iter().zip(&apart).all(|(a, b)| (a - b).abs() < 1e-3));
    let described = daemon.result("model.describe", json!({"model": "apart"}));
    assert!(described["layers"].as_array().unwrap().iter().any(|layer| layer["name"] == "bn0"));
}
