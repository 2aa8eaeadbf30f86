//! As much of JSON Schema as the schema of verdicts uses, to hold every output of the tests against it. A word of the
//! schema that is not known here fails: a rule that nobody looks at is none.

use serde_json::Value;

/// Everything that is wrong with a value, each with its place.
pub fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    check(schema, schema, value, "", &mut problems);
    problems
}

fn check(root: &Value, schema: &Value, value: &Value, place: &str, problems: &mut Vec<String>) {
    let Some(rules) = schema.as_object() else { panic!("{place}: {schema} is no schema") };
    let mut wrongs: Vec<String> = Vec::new();
    for (rule, given) in rules {
        match rule.as_str() {
            "$schema"
            | "$defs"
            | "title"
            | "description"
            | "items"
            | "properties"
            | "additionalProperties"
            | "propertyNames" => {}
            "$ref" => {
                let name = given.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                let mut inner = Vec::new();
                check(root, &root["$defs"][name], value, place, &mut inner);
                inner.into_iter().for_each(|problem| problems.push(problem));
            }
            "type" => {
                let is = match given.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "number" => value.is_number(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("{place}: type {other} is not known here"),
                };
                if !is {
                    wrongs.push(format!("{value} is no {given}"));
                }
            }
            "const" if value == given => {}
            "const" => wrongs.push(format!("{value} is not {given}")),
            "enum" if given.as_array().unwrap().contains(value) => {}
            "enum" => wrongs.push(format!("{value} is none of {given}")),
            "minimum" if value.as_f64().is_none_or(|number| number >= given.as_f64().unwrap()) => {}
            "minimum" => wrongs.push(format!("{value} is below {given}")),
            // The one that there is: sixteen hexadecimal digits.
            "pattern" => {
                assert_eq!(given, "^[0-9a-f]{16}$");
                let text = value.as_str().unwrap_or_default();
                if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
                {
                    wrongs.push(format!("{value} does not match {given}"));
                }
            }
            "required" => {
                for key in given.as_array().unwrap() {
                    if value.get(key.as_str().unwrap()).is_none() {
                        wrongs.push(format!("{key} is missing"));
                    }
                }
            }
            "anyOf" => {
                let fits = |schema: &Value| {
                    let mut inner = Vec::new();
                    check(root, schema, value, place, &mut inner);
                    inner.is_empty()
                };
                if !given.as_array().unwrap().iter().any(fits) {
                    wrongs.push(format!("{value} fits none of {given}"));
                }
            }
            other => panic!("{place}: rule {other} is not known here"),
        }
    }
    problems.extend(wrongs.into_iter().map(|what| format!("{place}: {what}")));
    for (position, item) in value.as_array().into_iter().flatten().enumerate() {
        if let Some(items) = rules.get("items") {
            check(root, items, item, &format!("{place}/{position}"), problems);
        }
    }
    for (key, item) in value.as_object().into_iter().flatten() {
        let at = format!("{place}/{key}");
        if let Some(names) = rules.get("propertyNames") {
            check(root, names, &Value::from(key.as_str()), &at, problems);
        }
        match (rules.get("properties").and_then(|known| known.get(key)), rules.get("additionalProperties")) {
            (Some(schema), _) => check(root, schema, item, &at, problems),
            (None, Some(Value::Bool(false))) => problems.push(format!("{at}: nobody knows this key")),
            (None, Some(schema)) => check(root, schema, item, &at, problems),
            (None, None) => {}
        }
    }
}
