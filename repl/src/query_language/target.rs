//! The short forms of a target: a class's name or index, `e@1.24` for a letter at a time (s), `e@62f` for one at an
//! output frame, `@1.24` and `@62f` for the best class there.

use serde_json::{Value, json};

/// What a bare word means as a target; an error says what is wrong with it.
pub(crate) fn target(word: &str) -> Result<Value, String> {
    let Some((class, place)) = word.rsplit_once('@') else { return Ok(class_of(word)) };
    let wrong = || {
        format!(
            "`{place}` behind the @ is no place; `{class}@1.24` is a time in seconds, `{class}@62f` an output frame"
        )
    };
    let mut target = match place.strip_suffix('f') {
        Some(frame) => json!({"frame": frame.parse::<u64>().map_err(|_| wrong())?}),
        None => {
            let time: f64 = place.strip_suffix('s').unwrap_or(place).parse().map_err(|_| wrong())?;
            if !time.is_finite() || time < 0.0 {
                return Err(wrong());
            }
            json!({"time": time})
        }
    };
    if !class.is_empty() {
        target["class"] = class_of(class);
    }
    Ok(target)
}

fn class_of(word: &str) -> Value {
    word.parse::<u64>().map_or_else(|_| Value::from(word), Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn means(word: &str, expected: Value) {
        assert_eq!(target(word), Ok(expected));
    }

    #[track_caller]
    fn refused(word: &str) {
        let error = target(word).unwrap_err();
        assert!(error.contains("is no place"), "{error}");
    }

    #[test]
    fn short_forms_of_targets() {
        means("tabby", json!("tabby"));
        means("predicted", json!("predicted"));
        means("281", json!(281));
        means("e@1.24", json!({"class": "e", "time": 1.24}));
        means("e@1.24s", json!({"class": "e", "time": 1.24}));
        means("e@62f", json!({"class": "e", "frame": 62}));
        means("4@62f", json!({"class": 4, "frame": 62}));
        means("@0.5", json!({"time": 0.5}));
        means("@62f", json!({"frame": 62}));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        refused("e@");
        refused("e@soon");
        refused("e@-1");
        refused("e@1.5f");
        refused("e@inf");
    }
}
