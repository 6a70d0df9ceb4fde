//! Feature visualisation as its users see it: progress while it runs, cancelling and going on, seeds, what is refused.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Daemon, WebSocket, folder, numbers};

/// A daemon with a small network of 6 × 6 places.
fn daemon() -> Daemon {
    let daemon = Daemon::start(&[]);
    let source = folder("golden/vgg-a/model.onnx").display().to_string();
    daemon.result("model.load", json!({"source": source, "name": "vgg", "description": {"value_range": [-2, 2]}}));
    daemon
}

fn layer(daemon: &Daemon) -> String {
    let layers = daemon.result("model.describe", json!({"model": "vgg"}))["layers"].clone();
    let is_conv = |layer: &&Value| layer["operator"] == "Conv";
    layers.as_array().unwrap().iter().filter(is_conv).nth(1).unwrap()["name"].as_str().unwrap().to_owned()
}

fn asked(daemon: &Daemon, more: Value) -> Value {
    let mut params = json!({
        "model": "vgg",
        "objective": {"kind": "channel", "layer": layer(daemon), "channel": 1},
        "transforms": [{"jitter": 1}, {"rotate": [-5, 0, 5]}],
        "seed": 3,
    });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Begins a job that takes longer than a test.
fn long_job(daemon: &Daemon, more: Value) -> String {
    let mut params = asked(daemon, json!({"steps": 1_000_000, "background": true}));
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    daemon.result("visualization.maximize", params)["job"].as_str().unwrap().to_owned()
}

#[test]
fn a_websocket_is_told_how_far_a_job_is_and_shown_pictures_on_the_way() {
    let daemon = daemon();
    let job = long_job(&daemon, json!({"picture": {}, "snapshots": [2, 50]}));
    let mut socket = WebSocket::connect(&daemon.socket());
    socket.ask(1, "job.subscribe", json!({"job": job}));
    let answer = socket.receive();
    let subscription = answer["result"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    let (mut last, mut is_shown) = (0, false);
    while !is_shown || last < 100 {
        let told = socket.receive();
        assert_eq!((&told["method"], &told["params"]["subscription"]), (&json!("job.progress"), &json!(subscription)));
        let job = &told["params"]["result"];
        assert_eq!((&job["state"], &job["method"]), (&json!("running"), &json!("visualization.maximize")));
        let progress = &job["progress"];
        // The job may not have had its turn yet.
        let Some(done) = progress["done"].as_u64() else { continue };
        assert!(done >= last && progress["total"] == 1_000_000, "{progress}");
        last = done;
        is_shown |= progress["partial"]["picture"]["format"] == "png" && progress["partial"]["value"].is_number();
    }
    assert_eq!(daemon.result("job.cancel", json!({"job": job}))["cancelled"], true);
    let end = loop {
        let told = socket.receive();
        if told["params"]["result"]["state"] != "running" {
            break told["params"]["result"].clone();
        }
    };
    assert_eq!((&end["state"], &end["error"]["data"]["kind"]), (&json!("cancelled"), &json!("cancelled")));
}

#[test]
fn a_subscription_ends_when_asked_and_needs_a_websocket_and_a_job() {
    let daemon = daemon();
    let job = long_job(&daemon, json!({}));
    let mut socket = WebSocket::connect(&daemon.socket());
    socket.ask(1, "job.subscribe", json!({"job": job, "partial": false}));
    let subscription = socket.receive()["result"].clone();
    assert_eq!(socket.receive()["method"], "job.progress");
    socket.ask(2, "job.unsubscribe", json!({"subscription": subscription}));
    while socket.receive()["id"] != 2 {}
    socket.ask(3, "job.subscribe", json!({"job": "j99"}));
    // A notification may have been under way.
    let refused = loop {
        let message = socket.receive();
        if message["id"] == 3 {
            break message;
        }
    };
    assert_eq!(refused["error"]["message"], "no job `j99`; did you mean `j1`?");
    socket.ask(4, "job.subscribe", json!({"jobb": "j1"}));
    let refused = socket.receive();
    assert!(
        refused["error"]["message"].as_str().unwrap().contains("`job.subscribe` has no parameter `jobb`"),
        "{refused}"
    );
    let refused = daemon.refusal("job.subscribe", json!({"job": job}));
    assert_eq!(refused, "`job.subscribe` needs a WebSocket; `job.get` tells how far a job is over any connection");
    daemon.result("job.cancel", json!({"job": job}));
}

#[test]
fn a_cancelled_job_goes_on_and_finds_to_the_bit_what_one_go_finds() {
    let daemon = daemon();
    let job = long_job(&daemon, json!({}));
    let progress = |job: &str| daemon.result("job.get", json!({"job": job}))["progress"].clone();
    wait_until("a step is done", || progress(&job)["done"].as_u64() > Some(0));
    assert!(progress(&job)["left_s"].as_f64() > Some(0.0), "{}", progress(&job));
    daemon.result("job.cancel", json!({"job": job}));
    let state = || daemon.result("job.get", json!({"job": job}))["state"].clone();
    wait_until("the job was cancelled", || state() == "cancelled");
    let on = |from: &Value, steps: usize| {
        daemon.result("visualization.maximize", json!({"model": "vgg", "continue_from": from, "steps": steps}))
    };
    let further = on(&json!(job), 10);
    let taken = further["values"].as_array().unwrap().len();
    assert!(taken > 10 && further["settings"]["seed"] == 3, "{taken}");
    let at_once = daemon.result("visualization.maximize", asked(&daemon, json!({"steps": taken})));
    for field in ["tensor", "value", "values", "ascent"] {
        assert_eq!(further[field], at_once[field], "{field}");
    }
    let last = on(&further["ascent"], 5);
    assert_eq!(last["values"].as_array().unwrap().len(), taken + 5);
}

#[test]
fn half_the_steps_and_then_the_others_are_all_of_them() {
    let daemon = daemon();
    let ask = |more| daemon.result("visualization.maximize", asked(&daemon, more));
    let at_once = ask(json!({"steps": 128, "batch": 2}));
    let first = ask(json!({"steps": 64, "batch": 2}));
    let then = ask(json!({"steps": 64, "batch": 2, "continue_from": first["ascent"]}));
    assert_eq!(then["tensor"]["data"], at_once["tensor"]["data"]);
    assert_eq!(then["values"], at_once["values"]);
    let changed = asked(&daemon, json!({"continue_from": first["ascent"], "learning_rate": 0.5, "batch": 2}));
    assert_eq!(
        daemon.refusal("visualization.maximize", changed),
        "`learning_rate` cannot change while an ascent goes on; leave it out"
    );
    let refused = daemon.refusal("visualization.maximize", json!({"model": "vgg", "continue_from": "j7"}));
    assert!(refused.starts_with("no ascent `j7` is remembered"), "{refused}");
}

#[test]
fn an_ascent_can_start_from_an_input() {
    let daemon = daemon();
    let input = folder("golden/vgg-a/input.npy").display().to_string();
    let objective = json!({"kind": "layer", "layer": layer(&daemon)});
    let params = json!({
        "model": "vgg", "objective": objective, "start": input, "steps": 1, "learning_rate": 1e-9, "transforms": ["none"],
        "parameterization": "pixels",
    });
    let found = numbers(&daemon.result("visualization.maximize", params)["tensor"]).1;
    let (_, given) = tests::read_npy(&folder("golden/vgg-a/input.npy"));
    // Through a sigmoid nothing comes nearer to the bounds than a 512th of their distance.
    let expected = given.iter().map(|number| number.clamp(-2.0 + 4.0 / 512.0, 2.0 - 4.0 / 512.0));
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4));
}

#[test]
fn methods_that_vary_the_input_tell_how_far_they_are() {
    let daemon = daemon();
    let input = folder("golden/vgg-a/input.npy").display().to_string();
    let cases = [
        ("attribution.rise", json!({"masks": 1000}), 1000),
        ("attribution.smooth_grad", json!({"samples": 300}), 300),
        ("attribution.integrated_gradients", json!({"steps": 300}), 300),
    ];
    for (method, more, total) in cases {
        let mut params = json!({"model": "vgg", "input": input, "background": true});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let job = daemon.result(method, params)["job"].clone();
        let get = || daemon.result("job.get", json!({"job": job}));
        wait_until(method, || get()["state"] == "done");
        let progress = get()["progress"].clone();
        assert_eq!((&progress["done"], &progress["total"]), (&json!(total), &json!(total)), "{method}");
    }
}

#[test]
fn a_query_that_is_waited_for_can_be_watched() {
    let daemon = daemon();
    let params = asked(&daemon, json!({"steps": 1_000_000, "watch": "mine"}));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| daemon.call("visualization.maximize", params));
        let known = || daemon.call("job.get", json!({"job": "mine"}));
        wait_until("it is known", || known().is_ok_and(|job| job["progress"]["done"].as_u64() > Some(3)));
        let refused = daemon.refusal("visualization.maximize", asked(&daemon, json!({"watch": "mine"})));
        assert_eq!(refused, "`watch` mine is what another query is known by already");
        daemon.result("job.cancel", json!({"job": "mine"}));
        let error = asking.join().unwrap().unwrap_err();
        assert_eq!(error["data"]["kind"], "cancelled");
        assert!(error["data"]["hint"].as_str().unwrap().starts_with("continue_from="), "{error}");
        wait_until("it is known no more", || known().is_err());
    });
}

#[test]
fn what_makes_no_sense_is_refused() {
    let daemon = daemon();
    let refused = |more| daemon.refusal("visualization.maximize", asked(&daemon, more));
    assert_eq!(refused(json!({"steps": 0})), "steps 0 is out of range; at least one step is needed");
    let nowhere = json!({"objective": {"kind": "channel", "layer": "conv99", "channel": 0}});
    assert!(refused(nowhere).starts_with("no layer `conv99`"));
    let far = json!({"objective": {"kind": "channel", "layer": layer(&daemon), "channel": 999}});
    assert!(refused(far).starts_with("channel 999 is out of range; "));
    let missing = daemon.refusal("visualization.maximize", json!({"model": "vgg"}));
    assert_eq!(missing, "`visualization.maximize` needs `objective`: what is made large");
    let other = refused(json!({"prior": "vgg"}));
    assert!(other.starts_with("a prior answers pictures of shape"), "{other}");
    let negative = refused(json!({"prior": {"source": "vgg", "weight": -1}}));
    assert_eq!(negative, "prior.weight -1 is out of range; a number of 0 or more is needed");
    assert!(refused(json!({"prior": "/nowhere/prior.safetensors"})).contains("/nowhere/prior.safetensors"));
    let wild = daemon.result("visualization.maximize", asked(&daemon, json!({"steps": 3, "learning_rate": 1e300})));
    assert!(wild["tensor"]["data"].is_string(), "bounds hold whatever the step");
}
