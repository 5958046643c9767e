//! Where an event was found, as people read it: the display name of a path specification.

use super::value::{Text, Value};

/// The display name of a path specification, as `GetDisplayNameForPathSpec` of Plaso 20260720
/// `engine/path_helper.py` makes it; none if it is not built as dfVFS 20260924 builds them.
pub(super) fn display_name(spec: &Value) -> Option<Text> {
    let kind = text(spec, "type_indicator")?;
    let parent = spec.attribute("parent");
    let Some(mut location) = location(spec)? else {
        return Some(kind.clone());
    };
    let (mut label, mut above) = (kind.clone(), parent);
    if let Some(parent) = parent {
        match kind.as_str() {
            Some("COMPRESSED_STREAM") => {
                let method = text(spec, "compression_method")?.as_str()?;
                label = Text::from(method.to_uppercase());
                above = parent.attribute("parent");
            }
            Some("GZIP") => above = parent.attribute("parent"),
            _ => {}
        }
    }
    if let Some(stream) = spec
        .attribute("data_stream")
        .filter(|stream| is_set(stream))
    {
        location.push_str(":");
        location.push_text(stream.as_text()?);
    }
    let mut name = Text::default();
    let store = above
        .filter(|above| text(above, "type_indicator").and_then(Text::as_str) == Some("VSHADOW"))
        .and_then(|_| parent?.attribute("store_index"));
    if let Some(index) = store {
        let Value::Number(index) = index else {
            return None;
        };
        let index = index.parse::<i64>().ok()?.checked_add(1)?;
        name.push_str(&format!("VSS{index}:"));
    }
    push_printable(&label, &mut name);
    name.push_str(":");
    push_printable(&location, &mut name);
    Some(name)
}

/// Its own location or else its parent's; the outer none is for one that is no text.
fn location(spec: &Value) -> Option<Option<Text>> {
    let own = spec
        .attribute("location")
        .filter(|location| is_set(location));
    let above = || {
        spec.attribute("parent")?
            .attribute("location")
            .filter(|location| is_set(location))
    };
    match own.or_else(above) {
        Some(location) => Some(Some(location.as_text()?.clone())),
        None => Some(None),
    }
}

fn text<'a>(spec: &'a Value, name: &str) -> Option<&'a Text> {
    spec.attribute(name)?.as_text()
}

/// Whether Python takes it for true, of the kinds that may stand here.
fn is_set(value: &Value) -> bool {
    value
        .as_text()
        .is_none_or(|text| !text.as_bytes().is_empty())
}

/// Plaso's `NON_PRINTABLE_CHARACTER_TRANSLATION_TABLE`.
fn push_printable(text: &Text, out: &mut Text) {
    if text
        .as_bytes()
        .iter()
        .all(|byte| matches!(byte, b' '..=b'~'))
    {
        return out.push_text(text);
    }
    for point in text.code_points() {
        match point {
            0..=0x1f | 0x7f..=0x9f => out.push_str(&format!("\\x{point:02x}")),
            0xd800..=0xdfff => out.push_str(&format!("\\U{point:08x}")),
            _ => out.push_code_point(point),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::read;

    fn name(spec: &str) -> Option<String> {
        let name = display_name(&read::read(spec.as_bytes()).unwrap())?;
        Some(name.as_str().unwrap().to_owned())
    }

    const RAW: &str =
        r#"{"parent":{"type_indicator":"OS","location":"/image.raw"},"type_indicator":"RAW"}"#;

    /// Each beside what Plaso's `GetDisplayNameForPathSpec` says of it.
    #[test]
    fn names_are_those_of_plaso() {
        let ext = format!(
            r#"{{"inode":16,"location":"/var/log/a.gz","parent":{RAW},"type_indicator":"EXT"}}"#
        );
        let shadow = format!(
            r#"{{"location":"/vss2","store_index":1,"parent":{RAW},"type_indicator":"VSHADOW"}}"#
        );
        let ntfs = format!(
            r#"{{"location":"\\a","data_stream":"ads","parent":{shadow},"type_indicator":"NTFS"}}"#
        );
        for (spec, expected) in [
            (
                r#"{"type_indicator":"OS","location":"/etc/hosts"}"#.to_owned(),
                "OS:/etc/hosts",
            ),
            (ext.clone(), "EXT:/var/log/a.gz"),
            (
                format!(r#"{{"parent":{ext},"type_indicator":"GZIP"}}"#),
                "GZIP:/var/log/a.gz",
            ),
            (
                format!(
                    r#"{{"compression_method":"bzip2","parent":{ext},"type_indicator":"COMPRESSED_STREAM"}}"#
                ),
                "BZIP2:/var/log/a.gz",
            ),
            (ntfs.clone(), r"VSS2:NTFS:\a:ads"),
            (
                format!(r#"{{"parent":{ntfs},"type_indicator":"GZIP"}}"#),
                r"GZIP:\a",
            ),
            (RAW.to_owned(), "RAW:/image.raw"),
            (
                format!(r#"{{"parent":{RAW},"type_indicator":"QCOW"}}"#),
                "QCOW",
            ),
            (
                r#"{"type_indicator":"OS","location":"/a\n\u007f\u009f\u00a0\udcff\ud83d\ude00"}"#
                    .to_owned(),
                "OS:/a\\x0a\\x7f\\x9f\u{a0}\\U0000dcff😀",
            ),
        ] {
            assert_eq!(name(&spec).as_deref(), Some(expected), "{spec}");
        }
    }

    #[test]
    fn what_dfvfs_does_not_build_is_left_to_plaso() {
        for spec in [
            "null",
            "[]",
            r#"{"location":"/a"}"#,
            r#"{"type_indicator":"OS","location":7}"#,
            r#"{"type_indicator":"COMPRESSED_STREAM","parent":{"type_indicator":"OS","location":"/a"}}"#,
        ] {
            assert_eq!(name(spec), None, "{spec}");
        }
    }
}
