//! As much of XML Schema as the schema of JUnit documents uses, to hold every output of the tests against it. A word of
//! the schema that is not known here fails: a rule that nobody looks at is none.

use roxmltree::{Document, Node};

/// Everything that is wrong with a document.
pub fn problems(schema: &str, document: &str) -> Vec<String> {
    let schema = Document::parse(schema).expect("the schema is XML");
    let document = match Document::parse(document) {
        Ok(document) => document,
        Err(error) => return vec![format!("no XML: {error}")],
    };
    let mut problems = Vec::new();
    check(schema.root_element(), document.root_element(), &mut problems);
    problems
}

fn children<'a>(node: Node<'a, 'a>) -> impl Iterator<Item = Node<'a, 'a>> {
    node.children().filter(Node::is_element)
}

fn check<'a>(schema: Node<'a, 'a>, node: Node<'_, '_>, problems: &mut Vec<String>) {
    let name = node.tag_name().name();
    let Some(element) = children(schema).find(|element| element.attribute("name") == Some(name)) else {
        return problems.push(format!("<{name}> is not known"));
    };
    let [kind] = children(element).collect::<Vec<_>>()[..] else { panic!("{name}: one type") };
    assert_eq!(kind.tag_name().name(), "complexType");
    let (mut allowed, mut rules) = (Vec::new(), Vec::new());
    let mut ordered = true;
    for part in children(kind) {
        match part.tag_name().name() {
            "sequence" => rules = children(part).collect(),
            "choice" => (rules, ordered) = (children(part).collect(), false),
            "attribute" => allowed.push(part),
            other => panic!("{name}: xs:{other} is not known here"),
        }
    }
    for attribute in node.attributes() {
        match allowed.iter().find(|rule| rule.attribute("name") == Some(attribute.name())) {
            None => problems.push(format!("<{name} {}> is not known", attribute.name())),
            Some(rule) if !is_a(rule.attribute("type").unwrap(), attribute.value()) => {
                problems.push(format!("<{name} {}={:?}> is of the wrong type", attribute.name(), attribute.value()));
            }
            Some(_) => {}
        }
    }
    let required = allowed.iter().filter(|rule| rule.attribute("use") == Some("required"));
    let missing = required.filter(|rule| !node.has_attribute(rule.attribute("name").unwrap()));
    problems.extend(missing.map(|rule| format!("<{name}> has no {}", rule.attribute("name").unwrap())));
    let places: Vec<Option<usize>> = node
        .children()
        .filter(Node::is_element)
        .map(|child| rules.iter().position(|rule| rule.attribute("ref") == Some(child.tag_name().name())))
        .collect();
    if places.contains(&None) || ordered && !places.is_sorted() || !ordered && places.len() > 1 {
        problems.push(format!("<{name}> has the wrong children, or in the wrong order"));
    }
    for (place, rule) in rules.iter().enumerate() {
        let count = places.iter().filter(|found| **found == Some(place)).count();
        assert_eq!(rule.attribute("minOccurs"), Some("0"), "{name}: not known here");
        if rule.attribute("maxOccurs") != Some("unbounded") && count > 1 {
            problems.push(format!("<{name}> has {count} of {:?}", rule.attribute("ref")));
        }
    }
    let text = node.children().filter_map(|child| child.text()).any(|text| !text.trim().is_empty());
    if text && kind.attribute("mixed") != Some("true") && children_of(node) == 0 {
        problems.push(format!("<{name}> has a text"));
    }
    node.children().filter(Node::is_element).for_each(|child| check(schema, child, problems));
}

fn children_of(node: Node<'_, '_>) -> usize {
    node.children().filter(Node::is_element).count()
}

fn is_a(kind: &str, value: &str) -> bool {
    match kind {
        "xs:string" => true,
        "xs:nonNegativeInteger" => !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()),
        "xs:decimal" => value.parse::<f64>().is_ok() && !value.contains(['e', 'E', 'n', 'i']),
        "xs:dateTime" => {
            let shape: String = value.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            shape == "0000-00-00T00:00:00" || shape.starts_with("0000-00-00T00:00:00") && shape.len() > 19
        }
        other => panic!("{other} is not known here"),
    }
}

#[test]
fn what_is_wrong_is_found() {
    let schema = include_str!("../../src/report/assets/junit.xsd");
    let whole = r#"<testsuites name="x" tests="1" skipped="0" failures="0" errors="0"><testsuite name="s" tests="1" skipped="0" failures="0" errors="0"><testcase name="c" classname="s" time="0.000"><failure message="m" type="invalid">t</failure></testcase></testsuite></testsuites>"#;
    assert_eq!(problems(schema, whole), Vec::<String>::new());
    for (from, to) in [
        (" skipped=\"0\"", ""),
        ("time=\"0.000\"", "time=\"soon\""),
        ("failures=\"0\"", "failures=\"-1\""),
        ("type=\"invalid\"", "type=\"invalid\" odd=\"\""),
        ("<failure message=\"m\" type=\"invalid\">t</failure>", "<skipped/>"),
        ("</failure>", "</failure><error message=\"m\" type=\"failed\"/>"),
        ("</testcase>", "</testcase><properties/>"),
        ("</testsuites>", ""),
    ] {
        let broken = whole.replacen(from, to, 1);
        assert!(broken != whole && !problems(schema, &broken).is_empty(), "{broken}");
    }
}
