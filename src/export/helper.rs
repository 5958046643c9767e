//! What prepares values for a format string (`plaso/formatters/interface.py` of 20260720): truth, enumerations, flags.
//!
//! In all of it `None` means that Plaso's own code has to say, also where Python raises.

use std::borrow::Cow;
use std::collections::HashMap;

use super::custom::Custom;
use super::python::{self, Number};
use super::value::{Text, Value};
use super::yaml::Node;

static NOTHING: Value = Value::Null;

/// Attributes of an event and what helpers made of them.
pub struct Values<'a> {
    stored: &'a [(Text, Value)],
    made: Vec<(&'a str, Cow<'a, Value>)>,
}

impl<'a> Values<'a> {
    /// The attributes as they were stored.
    #[must_use]
    pub const fn new(stored: &'a [(Text, Value)]) -> Self {
        let made = Vec::new();
        Self { stored, made }
    }

    /// The value of a name, where Python's `get` has `None` for what is not there.
    #[must_use]
    pub fn get(&self, name: &str) -> &Value {
        match self.made.iter().find(|made| made.0 == name) {
            Some(made) => &made.1,
            None => self.stored(name),
        }
    }

    /// The same, to be kept.
    #[must_use]
    pub fn take(&self, name: &str) -> Cow<'a, Value> {
        match self.made.iter().find(|made| made.0 == name) {
            Some(made) => made.1.clone(),
            None => Cow::Borrowed(self.stored(name)),
        }
    }

    /// Whether there is such a name: what was stored as nothing is not there, what was made of it is.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.made.iter().any(|made| made.0 == name) || !self.stored(name).is_null()
    }

    fn stored(&self, name: &str) -> &'a Value {
        let mut entries = self.stored.iter();
        entries
            .find(|entry| entry.0.as_bytes() == name.as_bytes())
            .map_or(&NOTHING, |entry| &entry.1)
    }

    /// Sets the value of a name.
    pub fn set(&mut self, name: &'a str, value: Cow<'a, Value>) {
        match self.made.iter_mut().find(|made| made.0 == name) {
            Some(made) => made.1 = value,
            None => self.made.push((name, value)),
        }
    }

    /// Sets text.
    pub fn set_text(&mut self, name: &'a str, text: impl Into<Text>) {
        self.set(name, Cow::Owned(Value::Text(text.into())));
    }
}

/// Makes values of values.
#[derive(Clone, Debug)]
pub enum Helper {
    /// One value for truth, one for anything else.
    Boolean {
        /// Of what.
        input: String,
        /// Where to.
        output: String,
        /// For truth.
        yes: Value,
        /// For anything else.
        no: Value,
    },
    /// A value for a value.
    Enumeration(Enumeration),
    /// Labels of bits.
    Flags {
        /// Of what.
        input: String,
        /// Where to.
        output: String,
        /// In Plaso's order.
        labels: Vec<(i128, Text)>,
    },
    /// One of Plaso's own in Python.
    Custom(Custom),
}

/// Values for values.
#[derive(Clone, Debug)]
pub struct Enumeration {
    input: String,
    output: String,
    default: Option<Value>,
    texts: HashMap<Text, Value>,
    /// Whole floats are equal to integers in Python.
    integers: HashMap<i128, Value>,
    floats: Vec<(f64, Value)>,
}

/// The helpers of a formatter in the order in which Plaso applies them; `None` if one is not known.
#[must_use]
pub fn of(definition: &Node) -> Option<Vec<Helper>> {
    type Make = fn(&Node) -> Option<Helper>;
    let kinds: [(&str, Make); 4] = [
        ("boolean_helpers", boolean),
        ("enumeration_helpers", enumeration),
        ("flags_helpers", flags),
        ("custom_helpers", custom),
    ];
    let mut helpers = Vec::new();
    for (key, make) in kinds {
        match definition.get(key) {
            None => {}
            Some(Node::List(definitions)) => {
                for definition in definitions {
                    helpers.push(make(definition)?);
                }
            }
            Some(_) => return None,
        }
    }
    Some(helpers)
}

fn name(definition: &Node, key: &str) -> Option<String> {
    let name = definition.get(key)?.text()?;
    super::template::is_name(name).then(|| name.to_owned())
}

fn has_only(definition: &Node, keys: &[&str]) -> bool {
    match definition {
        Node::Map(entries) => {
            let mut names = entries.iter().map(|entry| entry.0.text());
            names.all(|name| name.is_some_and(|name| keys.contains(&name)))
        }
        _ => false,
    }
}

fn boolean(definition: &Node) -> Option<Helper> {
    let keys = [
        "input_attribute",
        "output_attribute",
        "value_if_false",
        "value_if_true",
    ];
    let side = |key| match definition.get(key) {
        None => Some(Value::Null),
        Some(node) => Some(Value::Text(node.text()?.into())),
    };
    has_only(definition, &keys).then_some(())?;
    Some(Helper::Boolean {
        input: name(definition, "input_attribute")?,
        output: name(definition, "output_attribute")?,
        yes: side("value_if_true")?,
        no: side("value_if_false")?,
    })
}

fn enumeration(definition: &Node) -> Option<Helper> {
    let keys = [
        "input_attribute",
        "output_attribute",
        "default_value",
        "values",
    ];
    has_only(definition, &keys).then_some(())?;
    let mut made = Enumeration {
        input: name(definition, "input_attribute")?,
        output: name(definition, "output_attribute")?,
        default: match definition.get("default_value") {
            None => None,
            Some(node) => Some(Value::Text(node.text()?.into())),
        },
        texts: HashMap::new(),
        integers: HashMap::new(),
        floats: Vec::new(),
    };
    for (key, value) in entries(definition)? {
        let value = Value::Text(value.text()?.into());
        match key {
            Node::Text(text) if !key.is_doubtful() => {
                made.texts.insert(text.as_str().into(), value);
            }
            Node::Integer(number) => {
                made.integers.insert(*number, value);
            }
            Node::Float(float) => match whole(*float) {
                Some(number) => {
                    made.integers.insert(number, value);
                }
                None => made.floats.push((*float, value)),
            },
            _ => return None,
        }
    }
    Some(Helper::Enumeration(made))
}

fn flags(definition: &Node) -> Option<Helper> {
    has_only(
        definition,
        &["input_attribute", "output_attribute", "values"],
    )
    .then_some(())?;
    let mut labels = Vec::new();
    for (key, value) in entries(definition)? {
        match key {
            Node::Integer(flag) => labels.push((*flag, value.text()?.into())),
            _ => return None,
        }
    }
    Some(Helper::Flags {
        input: name(definition, "input_attribute")?,
        output: name(definition, "output_attribute")?,
        labels,
    })
}

/// Plaso's own know their attributes; those in the definition are for readers.
fn custom(definition: &Node) -> Option<Helper> {
    let keys = ["identifier", "input_attribute", "output_attribute"];
    has_only(definition, &keys).then_some(())?;
    let identifier = definition.get("identifier")?.text()?;
    Custom::named(&identifier.to_lowercase()).map(Helper::Custom)
}

fn entries(definition: &Node) -> Option<&[(Node, Node)]> {
    match definition.get("values")? {
        Node::Map(entries) if !entries.is_empty() => Some(entries),
        _ => None,
    }
}

/// The integer that a float is equal to.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the range was looked at, and the fraction"
)]
fn whole(float: f64) -> Option<i128> {
    let limit = 1e38;
    (float.fract() == 0.0 && (-limit..=limit).contains(&float)).then_some(float as i128)
}

impl Helper {
    /// Makes its value.
    #[must_use]
    pub fn apply<'a>(&'a self, values: &mut Values<'a>) -> Option<()> {
        match self {
            Self::Boolean {
                input,
                output,
                yes,
                no,
            } => {
                let side = if python::truth(values.get(input))? {
                    yes
                } else {
                    no
                };
                values.set(output, Cow::Borrowed(side));
                Some(())
            }
            Self::Enumeration(enumeration) => enumeration.apply(values),
            Self::Flags {
                input,
                output,
                labels,
            } => {
                let value = values.get(input);
                if value.is_null() {
                    return Some(());
                }
                let bits = python::integer(value)?;
                let mut text = Text::default();
                for (place, (_, label)) in labels
                    .iter()
                    .filter(|(flag, _)| flag & bits != 0)
                    .enumerate()
                {
                    text.push_str(if place > 0 { ", " } else { "" });
                    text.push_text(label);
                }
                values.set_text(output, text);
                Some(())
            }
            Self::Custom(custom) => custom.apply(values),
        }
    }
}

impl Enumeration {
    fn apply<'a>(&'a self, values: &mut Values<'a>) -> Option<()> {
        let value = values.get(&self.input);
        if value.is_null() {
            return Some(());
        }
        let made = match self.find(value)?.or(self.default.as_ref()) {
            Some(made) => Cow::Borrowed(made),
            None => values.take(&self.input),
        };
        values.set(&self.output, made);
        Some(())
    }

    /// What Python's dictionary has for the value; lists cannot be looked for in one.
    fn find(&self, value: &Value) -> Option<Option<&Value>> {
        Some(match value {
            Value::Null => None,
            Value::Text(text) => self.texts.get(text),
            Value::Bool(_) => self.integers.get(&python::integer(value)?),
            Value::Number(digits) => match python::number(digits) {
                // No key is as large as what does not fit.
                Number::Integer(digits) => self.integers.get(&digits.parse().ok()?),
                Number::Float(float) => match whole(float) {
                    Some(number) => self.integers.get(&number),
                    None => {
                        let mut floats = self.floats.iter();
                        floats.find_map(|(key, made)| (*key == float).then_some(made))
                    }
                },
            },
            Value::List(_) | Value::Map(_) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::yaml::documents;

    fn helpers(text: &str) -> Option<Vec<Helper>> {
        of(&documents(text).unwrap()[0])
    }

    #[test]
    fn what_is_not_known_makes_no_helper() {
        let boolean = "boolean_helpers: [{input_attribute: a, output_attribute: b";
        assert_eq!(helpers(&format!("{boolean}}}]")).unwrap().len(), 1);
        for wrong in [
            &format!("{boolean}, other: c}}]"),
            &format!("{boolean}, value_if_true: 1}}]"),
            "boolean_helpers: [{input_attribute: _a, output_attribute: b}]",
            "boolean_helpers: 1",
            "enumeration_helpers: [{input_attribute: a, output_attribute: b}]",
            "enumeration_helpers: [{input_attribute: a, output_attribute: b, values: {yes: 'x'}}]",
            "enumeration_helpers: [{input_attribute: a, output_attribute: b, values: {2001-01-01: 'x'}}]",
            "flags_helpers: [{input_attribute: a, output_attribute: b, values: {'1': 'x'}}]",
            "custom_helpers: [{identifier: windows_eventlog_message}]",
        ] {
            assert!(helpers(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn keys_are_equal_as_in_python() {
        let made = helpers(
            "enumeration_helpers:\n- {input_attribute: a, output_attribute: b, values: {1: 'one', 0x10: 'hex', 2.0: 'two', 0.5: 'half', '3': 'text'}}",
        )
        .unwrap();
        let look = |value: Value| {
            let stored = [(Text::from("a"), value)];
            let mut values = Values::new(&stored);
            made[0].apply(&mut values)?;
            Some(values.get("b").clone())
        };
        let number = |digits: &str| Value::Number(digits.into());
        let text = |text: &str| Some(Value::Text(text.into()));
        assert_eq!(look(Value::Bool(true)), text("one"));
        assert_eq!(look(number("1.0")), text("one"));
        assert_eq!(look(number("16")), text("hex"));
        assert_eq!(look(number("2")), text("two"));
        assert_eq!(look(number("0.5")), text("half"));
        assert_eq!(look(Value::Text("3".into())), text("text"));
        assert_eq!(look(number("3")), Some(number("3")));
        assert_eq!(look(Value::Null), Some(Value::Null));
        assert_eq!(look(Value::List(vec![])), None);
    }
}
