//! The descriptions of times: a few hundred texts that all events share, each held once.

use std::collections::HashMap;
use std::rc::Rc;

use super::value::Text;
use super::write::{self, Counts};

/// More than Plaso has kinds of times (288 entries in `data/timeliner.yaml` of 20260720) and any file names.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// What psort sorts by where there is none.
const UNKNOWN: &str = "Unknown Time";

/// Texts by number.
#[derive(Debug, Default)]
pub(super) struct Words {
    numbers: HashMap<Option<Box<str>>, u32>,
    texts: Vec<(Rc<str>, Vec<u8>)>,
    bytes: usize,
    last: Option<(Option<Box<str>>, u32)>,
}

impl Words {
    /// The number of a text; none when there are too many of them.
    pub(super) fn number(&mut self, text: Option<&str>) -> Option<u32> {
        if let Some((last, number)) = &self.last
            && last.as_deref() == text
        {
            return Some(*number);
        }
        let text: Option<Box<str>> = text.map(Into::into);
        let number = match self.numbers.get(&text) {
            Some(number) => *number,
            None => self.add(text.clone())?,
        };
        self.last = Some((text, number));
        Some(number)
    }

    fn add(&mut self, text: Option<Box<str>>) -> Option<u32> {
        let number = u32::try_from(self.texts.len()).ok()?;
        let mut json = Vec::new();
        let shown = Text::from(text.as_deref().unwrap_or("-"));
        write::string(&shown, &mut json, &mut Counts::default());
        self.bytes += 200 + 3 * json.len();
        if self.bytes > MOST_BYTES {
            return None;
        }
        let sorted = text.as_deref().unwrap_or(UNKNOWN);
        self.texts.push((sorted.into(), json));
        self.numbers.insert(text, number);
        Some(number)
    }

    /// The text that events are sorted by.
    pub(super) fn text(&self, number: u32) -> Rc<str> {
        let found = self.texts.get(number as usize);
        found.map_or_else(|| UNKNOWN.into(), |(text, _)| Rc::clone(text))
    }

    /// The text as JSON.
    pub(super) fn json(&self, number: u32) -> &[u8] {
        let found = self.texts.get(number as usize);
        found.map_or(b"\"-\"", |(_, json)| json)
    }
}
