//! Python's format strings, as far as Plaso's formatters use them.

use super::python::{self, Number};
use super::value::{Text, Value};

/// The widest that a specification may ask for.
const WIDEST: usize = 64;

/// A part of a format string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text that stands for itself.
    Literal(Text),
    /// The value of an attribute.
    Field(String, Spec),
}

/// How a value is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spec {
    /// As `str()`.
    Plain,
    /// Text only (`:s`).
    Text,
    /// An integer: base, capitals, filled up with zeros or else spaces, to a width.
    Integer {
        /// `d`, `x`, `X`, `o` or `b`.
        form: u8,
        /// With zeros behind the sign.
        zeros: bool,
        /// In characters.
        width: usize,
    },
    /// Digits after the point (`:.2f`).
    Fixed(usize),
}

/// The parts of a format string; `None` if it has something that is not known here.
#[must_use]
pub fn parse(format: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = format;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, after) = rest.split_at(at);
        literal.push_str(before);
        if let Some(after) = after.strip_prefix("{{") {
            literal.push('{');
            rest = after;
        } else if let Some(after) = after.strip_prefix("}}") {
            literal.push('}');
            rest = after;
        } else {
            let (field, after) = after.strip_prefix('{')?.split_once('}')?;
            if !literal.is_empty() {
                parts.push(Part::Literal(Text::from(std::mem::take(&mut literal))));
            }
            let (name, spec) = field.split_once(':').unwrap_or((field, ""));
            if !is_name(name) {
                return None;
            }
            parts.push(Part::Field(name.to_owned(), self::spec(spec)?));
            rest = after;
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(Text::from(literal)));
    }
    Some(parts)
}

/// Whether Plaso takes it for the name of an attribute (`formatters/interface.py`).
#[must_use]
pub fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn spec(spec: &str) -> Option<Spec> {
    match spec {
        "" => return Some(Spec::Plain),
        "s" => return Some(Spec::Text),
        _ => {}
    }
    if let Some(digits) = spec
        .strip_prefix('.')
        .and_then(|spec| spec.strip_suffix('f'))
    {
        return size(digits)?.map(Spec::Fixed);
    }
    let form = spec.bytes().last().filter(|form| b"dxXob".contains(form))?;
    let width = spec.get(..spec.len() - 1)?;
    let (zeros, width) = match width.strip_prefix('0') {
        Some(width) => (true, width),
        None => (false, width),
    };
    let width = size(width)?.unwrap_or(0);
    Some(Spec::Integer { form, zeros, width })
}

/// A number of characters: `None` if it is not one, `Some(None)` if there is none.
fn size(digits: &str) -> Option<Option<usize>> {
    if digits.is_empty() {
        return Some(None);
    }
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let size = digits
        .parse()
        .ok()
        .filter(|size| plain && *size <= WIDEST)?;
    Some(Some(size))
}

/// Adds a value as the specification says; `None` where Python raises or only Plaso can say.
#[must_use]
pub fn print(value: &Value, spec: Spec, out: &mut Text) -> Option<()> {
    match spec {
        Spec::Plain => python::str(value, out),
        Spec::Text => {
            out.push_text(value.as_text()?);
            Some(())
        }
        Spec::Integer { form, zeros, width } => {
            integer(python::integer(value)?, form, zeros, width, out);
            Some(())
        }
        Spec::Fixed(digits) => {
            let float = float(value)?;
            out.push_str(&if float.is_finite() {
                format!("{float:.digits$}")
            } else {
                python::float(float)
            });
            Some(())
        }
    }
}

/// Adds an integer in the form of a specification.
pub(super) fn integer(value: i128, form: u8, zeros: bool, width: usize, out: &mut Text) {
    let size = value.unsigned_abs();
    let sign = if value < 0 { "-" } else { "" };
    let digits = match form {
        b'x' => format!("{size:x}"),
        b'X' => format!("{size:X}"),
        b'o' => format!("{size:o}"),
        b'b' => format!("{size:b}"),
        _ => size.to_string(),
    };
    let fill = width.saturating_sub(sign.len() + digits.len());
    if zeros {
        out.push_str(sign);
        out.push_str(&"0".repeat(fill));
    } else {
        out.push_str(&" ".repeat(fill));
        out.push_str(sign);
    }
    out.push_str(&digits);
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::Number(digits) => match python::number(digits) {
            Number::Float(float) => Some(float),
            // Python raises where an integer is too large for a float.
            Number::Integer(digits) => digits.parse().ok().filter(|float: &f64| float.is_finite()),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::read::read;

    fn printed(format: &str, json: &str) -> Option<String> {
        let mut out = Text::default();
        for part in parse(format)? {
            match part {
                Part::Literal(text) => out.push_text(&text),
                Part::Field(_, spec) => print(&read(json.as_bytes()).unwrap(), spec, &mut out)?,
            }
        }
        Some(out.as_str().unwrap().to_owned())
    }

    #[test]
    fn specifications_are_pythons() {
        for (format, json, python) in [
            ("0x{a:08x}", "-255", "0x-00000ff"),
            ("{a:08X}", "4294967295000", "3E7FFFFFC18"),
            ("{a:03o}|{a:x}|{a:5d}|{a:04x}", "true", "001|1|    1|0001"),
            ("{a:.2f}", "2.675", "2.67"),
            ("{a:.2f}", "1e22", "10000000000000000000000.00"),
            ("{a:.2f}", "-0.0", "-0.00"),
            ("{a:.2f}", "NaN", "nan"),
            ("{{{a}}} {a}", "null", "{None} None"),
            ("{a:s}", "\"x\"", "x"),
        ] {
            assert_eq!(
                printed(format, json).as_deref(),
                Some(python),
                "{format} {json}"
            );
        }
    }

    #[test]
    fn what_python_refuses_or_we_do_not_know_is_unknown() {
        for format in [
            "{", "}", "{a", "{}", "{0}", "{a.b}", "{a[0]}", "{a!r}", "{a:{b}}", "{a:>8}", "{a:,}",
            "{a:x8}", "{_a}", "{A}", "{a:.f}", "{a:999x}",
        ] {
            assert_eq!(parse(format), None, "{format}");
        }
        for (format, json) in [
            ("{a:x}", "\"1\""),
            ("{a:x}", "1.0"),
            ("{a:.2f}", "\"\""),
            ("{a:s}", "1"),
            ("{a:x}", "null"),
        ] {
            assert_eq!(printed(format, json), None, "{format} {json}");
        }
    }
}
