//! Dates as psort writes them.

/// Appends `YYYY-MM-DDTHH:MM:SS.ffffff+00:00` for microseconds since 1970, as `CopyToDateTimeStringISO8601` of
/// dfDateTime 20261027 (`posix_time.py`, `interface.py`) does: the calendar reaches back before its time, and years
/// after 9999 have the digits that they need. Years before 0, with which psort ends, are `-YYYY`; -1 is the one
/// before 0.
pub(super) fn write(timestamp: i64, out: &mut Vec<u8>) {
    const DAY: i64 = 86_400_000_000;
    let (year, month, day) = date(timestamp.div_euclid(DAY));
    let time = timestamp.rem_euclid(DAY);
    if year < 0 {
        out.push(b'-');
    }
    digits(year.unsigned_abs(), 4, out);
    out.push(b'-');
    digits(month.unsigned_abs(), 2, out);
    out.push(b'-');
    digits(day.unsigned_abs(), 2, out);
    for (mark, unit, width) in [
        (b'T', 3_600_000_000, 2),
        (b':', 60_000_000, 2),
        (b':', 1_000_000, 2),
        (b'.', 1, 6),
    ] {
        out.push(mark);
        let base = if width == 6 { 1_000_000 } else { 60 };
        let part = time / unit;
        let part = if mark == b'T' { part } else { part % base };
        digits(part.unsigned_abs(), width, out);
    }
    out.extend_from_slice(b"+00:00");
}

/// Year, month and day of days since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// Appends a number with at least `width` digits.
fn digits(number: u64, width: usize, out: &mut Vec<u8>) {
    let mut text = [b'0'; 20];
    let (mut rest, mut from) = (number, text.len());
    while rest > 0 || from > text.len() - width {
        from -= 1;
        text[from] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    out.extend_from_slice(&text[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(timestamp: i64) -> String {
        let mut out = Vec::new();
        write(timestamp, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// What Plaso's Python says: `PosixTimeInMicroseconds(timestamp=T).CopyToDateTimeStringISO8601()`.
    #[test]
    fn dates_are_those_of_dfdatetime() {
        for (timestamp, expected) in [
            (0, "1970-01-01T00:00:00.000000+00:00"),
            (-1, "1969-12-31T23:59:59.999999+00:00"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001+00:00"),
            (4_107_542_399_999_999, "2100-02-28T23:59:59.999999+00:00"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000+00:00"),
            (-62_135_596_800_000_000, "0001-01-01T00:00:00.000000+00:00"),
            (-62_167_219_200_000_000, "0000-01-01T00:00:00.000000+00:00"),
            (253_402_300_800_000_000, "10000-01-01T00:00:00.000000+00:00"),
            (
                1_383_193_280_461_000_000,
                "45801-08-26T11:41:01.000000+00:00",
            ),
            (i64::MAX, "294247-01-10T04:00:54.775807+00:00"),
        ] {
            assert_eq!(text(timestamp), expected);
        }
    }

    #[test]
    fn years_before_0_are_written_where_psort_ends() {
        assert_eq!(
            text(-62_167_219_200_000_001),
            "-0001-12-31T23:59:59.999999+00:00"
        );
        assert_eq!(text(i64::MIN), "-290308-12-21T19:59:05.224192+00:00");
    }

    #[test]
    fn every_day_of_a_thousand_years_follows_the_one_before() {
        let (mut year, mut month, mut day) = date(-200_000);
        for days in -199_999..=200_000 {
            let next = date(days);
            let long = match month {
                2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (year, month, day) = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (month, day) if day == long => (year, month + 1, 1),
                (month, day) => (year, month, day + 1),
            };
            assert_eq!(next, (year, month, day));
        }
    }
}
