//! Plaso's helpers that are written in Python (`plaso/formatters/*.py` of 20260720), without those that need tables of
//! their own: `windows_eventlog_message` and `msie_zone_settings`.
//!
//! `None` means that Plaso's own code has to say, also where Python raises.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::helper::Values;
use super::python;
use super::template::integer;
use super::value::{Text, Value};

/// More volumes than a file can have, so that a hostile number makes no endless text.
const MOST_VOLUMES: i128 = 4096;

/// A helper, named as in Plaso.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the names are Plaso's, which has the words for them"
)]
pub enum Custom {
    ChromeHistoryTypedCount,
    ChromePreferencesPrimaryUrl,
    ChromePreferencesSecondaryUrl,
    FirefoxHistoryTypedCount,
    FirefoxHistoryUrlHidden,
    MsiecfCachedPath,
    MsiecfHttpHeaders,
    NtfsFileReference,
    NtfsParentFileReference,
    NtfsPathHints,
    ShellItemFileEntryName,
    WindowsPrefetchPathHints,
    WindowsPrefetchVolumesString,
    WindowsRegistryValues,
    WindowsShortcutLinkedPath,
}

impl Custom {
    /// The helper of a name in lower case.
    #[must_use]
    pub fn named(identifier: &str) -> Option<Self> {
        Some(match identifier {
            "chrome_history_typed_count" => Self::ChromeHistoryTypedCount,
            "chrome_preferences_primary_url" => Self::ChromePreferencesPrimaryUrl,
            "chrome_preferences_secondary_url" => Self::ChromePreferencesSecondaryUrl,
            "firefox_history_typed_count" => Self::FirefoxHistoryTypedCount,
            "firefox_history_url_hidden" => Self::FirefoxHistoryUrlHidden,
            "msiecf_cached_path" => Self::MsiecfCachedPath,
            "msiecf_http_headers" => Self::MsiecfHttpHeaders,
            "ntfs_file_reference" => Self::NtfsFileReference,
            "ntfs_parent_file_reference" => Self::NtfsParentFileReference,
            "ntfs_path_hints" => Self::NtfsPathHints,
            "shell_item_file_entry_name" => Self::ShellItemFileEntryName,
            "windows_prefetch_path_hints" => Self::WindowsPrefetchPathHints,
            "windows_prefetch_volumes_string" => Self::WindowsPrefetchVolumesString,
            "windows_registry_values" => Self::WindowsRegistryValues,
            "windows_shortcut_linked_path" => Self::WindowsShortcutLinkedPath,
            _ => return None,
        })
    }

    /// Makes its values.
    #[must_use]
    pub fn apply(self, values: &mut Values<'_>) -> Option<()> {
        match self {
            Self::ChromeHistoryTypedCount => chrome_typed(values),
            Self::ChromePreferencesPrimaryUrl => {
                if is_text(values.get("primary_url"), "") {
                    values.set_text("primary_url", "local file");
                }
                Some(())
            }
            Self::ChromePreferencesSecondaryUrl => chrome_secondary(values),
            Self::FirefoxHistoryTypedCount => {
                let typed = is_text(values.get("typed"), "1");
                let text = if typed {
                    "(URL directly typed)"
                } else {
                    "(URL not typed directly)"
                };
                values.set_text("url_typed_string", text);
                Some(())
            }
            Self::FirefoxHistoryUrlHidden => {
                if is_text(values.get("hidden"), "1") {
                    values.set_text("url_hidden_string", "(URL hidden)");
                }
                Some(())
            }
            Self::MsiecfCachedPath => cached_path(values),
            Self::MsiecfHttpHeaders => headers(values),
            Self::NtfsFileReference => reference(values, "file_reference"),
            Self::NtfsParentFileReference => reference(values, "parent_file_reference"),
            Self::NtfsPathHints => hints(values, ";"),
            Self::ShellItemFileEntryName => {
                let long = python::truth(values.get("long_name"))?;
                let name = values.take(if long { "long_name" } else { "name" });
                values.set("file_entry_name", name);
                Some(())
            }
            Self::WindowsPrefetchPathHints => hints(values, "; "),
            Self::WindowsPrefetchVolumesString => volumes(values),
            Self::WindowsRegistryValues => registry(values),
            Self::WindowsShortcutLinkedPath => linked_path(values),
        }
    }
}

fn is_text(value: &Value, text: &str) -> bool {
    value
        .as_text()
        .is_some_and(|value| value.as_bytes() == text.as_bytes())
}

fn chrome_typed(values: &mut Values<'_>) -> Option<()> {
    let count = values.get("typed_count");
    if count.is_null() {
        return Some(());
    }
    // A float would go through three comparisons of its own.
    let text = match python::integer(count)? {
        0 => "(URL not typed directly)".to_owned(),
        1 => "(URL typed 1 time)".to_owned(),
        count if count > 1 => format!("(URL typed {count} times)"),
        _ => {
            let count = values.take("typed_count");
            values.set("url_typed_string", count);
            return Some(());
        }
    };
    values.set_text("url_typed_string", text);
    Some(())
}

fn chrome_secondary(values: &mut Values<'_>) -> Option<()> {
    let mut secondary = values.take("secondary_url");
    if is_text(&secondary, "") {
        secondary = Cow::Owned(Value::Text("local file".into()));
    }
    let primary = values.get("primary_url");
    let same = match (&*secondary, primary) {
        (Value::Text(secondary), Value::Text(primary)) => secondary == primary,
        (Value::Text(_) | Value::Null, _) | (_, Value::Text(_) | Value::Null) => false,
        // Equal numbers can have different digits.
        _ => return None,
    };
    if same || is_text(&secondary, "*") {
        secondary = Cow::Owned(Value::Null);
    }
    values.set("secondary_url", secondary);
    Some(())
}

fn cached_path(values: &mut Values<'_>) -> Option<()> {
    if python::truth(values.get("cached_filename"))? {
        let path = if python::truth(values.get("cache_directory_name"))? {
            Cow::Owned(path(values, "cache_directory_name", "cached_filename")?)
        } else {
            values.take("cached_filename")
        };
        values.set("cached_file_path", path);
    }
    Some(())
}

fn path(values: &Values<'_>, folder: &str, file: &str) -> Option<Value> {
    let mut path = values.get(folder).as_text()?.clone();
    path.push_str("\\");
    path.push_text(values.get(file).as_text()?);
    Some(Value::Text(path))
}

fn headers(values: &mut Values<'_>) -> Option<()> {
    let headers = values.get("http_headers");
    if !python::truth(headers)? {
        return Some(());
    }
    let text = lines_joined(headers.as_text()?);
    values.set_text("http_headers", text);
    Some(())
}

fn lines_joined(lines: &Text) -> Text {
    let mut text = Text::default();
    let mut points = lines.code_points().peekable();
    while let Some(point) = points.next() {
        if point == 0x0d && points.next_if_eq(&0x0a).is_some() {
            text.push_str(" - ");
        } else {
            text.push_code_point(point);
        }
    }
    text
}

fn reference(values: &mut Values<'_>, name: &'static str) -> Option<()> {
    let value = values.get(name);
    if python::truth(value)? {
        let number = python::integer(value)?;
        let text = format!("{}-{}", number & 0xffff_ffff_ffff, number >> 48);
        values.set_text(name, text);
    }
    Some(())
}

fn hints(values: &mut Values<'_>, separator: &str) -> Option<()> {
    let hints = values.get("path_hints");
    if !python::truth(hints)? {
        return Some(());
    }
    let mut joined = Text::default();
    if let Value::Text(text) = hints {
        // Python joins the characters of text.
        for (place, point) in text.code_points().enumerate() {
            joined.push_str(if place > 0 { separator } else { "" });
            joined.push_code_point(point);
        }
    } else {
        for (place, item) in python::items(hints)?.iter().enumerate() {
            joined.push_str(if place > 0 { separator } else { "" });
            joined.push_text(item.as_text()?);
        }
    }
    values.set_text("path_hints", joined);
    Some(())
}

fn volumes(values: &mut Values<'_>) -> Option<()> {
    let number = match values.get("number_of_volumes") {
        // Python has no range up to None, but takes 0 for what is not there, and None is not stored.
        Value::Null => 0,
        number => python::integer(number)?,
    };
    if number > MOST_VOLUMES {
        return None;
    }
    let serials = values.get("volume_serial_numbers");
    let paths = values.get("volume_device_paths");
    let (has_serials, has_paths) = (python::truth(serials)?, python::truth(paths)?);

    let mut text = Text::default();
    for place in 0..usize::try_from(number.max(0)).ok()? {
        let prefix = if place > 0 { ", " } else { "" };
        text.push_str(&format!("{prefix}volume: {} [serial number: ", place + 1));
        if has_serials {
            text.push_str("0x");
            let serial = python::items(serials)?.get(place)?;
            integer(python::integer(serial)?, b'X', true, 8, &mut text);
        } else {
            text.push_str("UNKNOWN");
        }
        text.push_str(", device path: ");
        if has_paths {
            text.push_text(python::items(paths)?.get(place)?.as_text()?);
        } else {
            text.push_str("UNKNOWN");
        }
        text.push_str("]");
    }
    if number > 0 {
        values.set_text("volumes_string", text);
    }
    Some(())
}

fn registry(values: &mut Values<'_>) -> Option<()> {
    let stored = values.get("values");
    if stored.as_text().is_some() {
        return Some(());
    }
    if !python::truth(stored)? {
        values.set_text("values", "(empty)");
        return Some(());
    }
    let mut text = Text::default();
    for (place, [name, kind, data]) in sorted(python::items(stored)?)?.into_iter().enumerate() {
        text.push_str(if place > 0 { ", " } else { "" });
        if python::truth(name)? {
            text.push_text(name.as_text()?);
        } else {
            text.push_str("(default)");
        }
        text.push_str(": [");
        text.push_text(kind.as_text()?);
        text.push_str("] ");
        if python::truth(data)? {
            python::str(data, &mut text)?;
        } else {
            text.push_str("(empty)");
        }
    }
    values.set_text("values", text);
    Some(())
}

/// Values of the registry in Python's order, which for text is that of code points, and so that of bytes.
fn sorted(items: &[Value]) -> Option<Vec<[&Value; 3]>> {
    let tuples = items
        .iter()
        .filter(|item| python::tuple(item).is_some())
        .count();
    if tuples != 0 && tuples != items.len() {
        return None;
    }
    let mut found = Vec::with_capacity(items.len());
    for item in items {
        let [name, kind, data] = python::items(item)? else {
            return None;
        };
        found.push([name, kind, data]);
    }
    if found.len() > 1
        && found
            .iter()
            .flat_map(|[name, kind, _]| [name, kind])
            .any(|part| part.as_text().is_none())
    {
        return None;
    }
    let heads = |a: &[&Value; 3], b: &[&Value; 3]| compare(a[0], b[0]).then(compare(a[1], b[1]));
    found.sort_by(heads);
    // Only of equal names and types does Python compare the data.
    if found
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if heads(a, b).is_eq()))
    {
        if found.iter().any(|[_, _, data]| data.as_text().is_none()) {
            return None;
        }
        found.sort_by(|a, b| heads(a, b).then(compare(a[2], b[2])));
    }
    Some(found)
}

fn compare(a: &Value, b: &Value) -> Ordering {
    a.as_text().cmp(&b.as_text())
}

fn linked_path(values: &mut Values<'_>) -> Option<()> {
    let mut linked = Cow::Owned(Value::Null);
    for name in ["local_path", "network_path", "relative_path"] {
        if !python::truth(values.get(name))? {
            continue;
        }
        linked = values.take(name);
        if name == "relative_path" && python::truth(values.get("working_directory"))? {
            linked = Cow::Owned(path(values, "working_directory", "relative_path")?);
        }
        break;
    }
    if linked.is_null() {
        linked = Cow::Owned(Value::Text("Unknown".into()));
    }
    values.set("linked_path", linked);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::read::read;

    fn made(helper: &str, attributes: &str, name: &str) -> Option<String> {
        let Ok(Value::Map(attributes)) = read(attributes.as_bytes()) else {
            panic!("no map: {attributes}");
        };
        let mut values = Values::new(&attributes);
        Custom::named(helper).unwrap().apply(&mut values)?;
        let mut text = Text::default();
        python::str(values.get(name), &mut text)?;
        Some(text.as_str().unwrap().to_owned())
    }

    #[test]
    fn values_are_those_of_plasos_helpers() {
        let tuple = r#"{"__type__":"tuple","values""#;
        let rows = format!(
            r#"{{"values":[{tuple}:["b","S","1"]}},{tuple}:["","D",null]}},{tuple}:["a","S",""]}}]}}"#
        );
        for (helper, attributes, name, value) in [
            (
                "chrome_history_typed_count",
                r#"{"typed_count":2}"#,
                "url_typed_string",
                "(URL typed 2 times)",
            ),
            (
                "chrome_preferences_secondary_url",
                r#"{"secondary_url":"a","primary_url":"a"}"#,
                "secondary_url",
                "None",
            ),
            (
                "msiecf_cached_path",
                r#"{"cached_filename":"f","cache_directory_name":"d"}"#,
                "cached_file_path",
                "d\\f",
            ),
            (
                "msiecf_http_headers",
                r#"{"http_headers":"a\r\nb\rc\n"}"#,
                "http_headers",
                "a - b\rc\n",
            ),
            (
                "ntfs_file_reference",
                r#"{"file_reference":281474976710661}"#,
                "file_reference",
                "5-1",
            ),
            (
                "ntfs_path_hints",
                r#"{"path_hints":["a","b"]}"#,
                "path_hints",
                "a;b",
            ),
            (
                "windows_prefetch_volumes_string",
                r#"{"number_of_volumes":1,"volume_serial_numbers":[10]}"#,
                "volumes_string",
                "volume: 1 [serial number: 0x0000000A, device path: UNKNOWN]",
            ),
            (
                "windows_registry_values",
                &rows,
                "values",
                "(default): [D] (empty), a: [S] (empty), b: [S] 1",
            ),
            (
                "windows_shortcut_linked_path",
                r#"{"relative_path":"f","working_directory":"d"}"#,
                "linked_path",
                "d\\f",
            ),
            (
                "windows_shortcut_linked_path",
                "{}",
                "linked_path",
                "Unknown",
            ),
        ] {
            assert_eq!(
                made(helper, attributes, name).as_deref(),
                Some(value),
                "{helper} {attributes}"
            );
        }
    }

    #[test]
    fn where_python_raises_or_the_number_is_hostile_nothing_is_known() {
        for (helper, attributes) in [
            ("chrome_history_typed_count", r#"{"typed_count":"2"}"#),
            ("ntfs_file_reference", r#"{"file_reference":"2"}"#),
            ("ntfs_path_hints", r#"{"path_hints":[1]}"#),
            (
                "windows_prefetch_volumes_string",
                r#"{"number_of_volumes":1000000000000}"#,
            ),
            (
                "windows_prefetch_volumes_string",
                r#"{"number_of_volumes":2,"volume_serial_numbers":[1]}"#,
            ),
            (
                "windows_registry_values",
                r#"{"values":[["a","S","1"],[null,"S","1"]]}"#,
            ),
            (
                "windows_registry_values",
                r#"{"values":[["a","S","1"],["a","S",null]]}"#,
            ),
        ] {
            assert_eq!(
                made(helper, attributes, "values"),
                None,
                "{helper} {attributes}"
            );
        }
    }
}
