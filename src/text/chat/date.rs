//! `strftime_now`, which transformers defines as `datetime.now().strftime(format)`: local time, in the words of the C locale,
//! with the codes of the C library.

use jiff::civil::{DateTime, Weekday};
use jiff::{Timestamp, tz::TimeZone};
use std::path::Path;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The current local time in this format.
///
/// # Errors
/// A code or a time zone that is not known.
pub(super) fn now(format: &str) -> Result<String, String> {
    let zone = match (TimeZone::try_system(), std::env::var("TZ")) {
        (Ok(zone), _) => zone,
        (Err(_), Ok(name)) => named(&name)?,
        (Err(_), Err(_)) => TimeZone::UTC,
    };
    let now = Timestamp::now();
    strftime(format, zone.to_datetime(now), now.as_second())
}

/// How the C library interprets a value of TZ that jiff does not know: any file of the system's zones, summer time without its rule,
/// and UTC if nothing fits.
fn named(name: &str) -> Result<TimeZone, String> {
    let file = Path::new("/usr/share/zoneinfo").join(name.strip_prefix(':').unwrap_or(name));
    let zone = std::fs::read(file).ok().and_then(|bytes| TimeZone::tzif(name, &bytes).ok());
    if let Some(zone) = zone.or_else(|| TimeZone::posix(&format!("{name},M3.2.0,M11.1.0")).ok()) {
        return Ok(zone);
    }
    let offset = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let is_offset =
        name.len() - offset.len() >= 3 && offset.starts_with(|c: char| "+-0123456789".contains(c));
    if is_offset || name.starts_with('<') {
        return Err(format!("strftime_now: the time zone `{name}` is not supported"));
    }
    Ok(TimeZone::UTC)
}

/// How a code is written: the flags between `%` and its letter.
#[derive(Clone, Copy, Default)]
struct Flags {
    /// `-`, `_` or `0` instead of the usual padding.
    pad: Option<char>,
    upper: bool,
}

/// Formats a local time; `seconds` is the same time since 1970.
fn strftime(format: &str, time: DateTime, seconds: i64) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(flag) = chars.next_if(|c| "-_0^".contains(*c)) {
            match flag {
                '^' => flags.upper = true,
                pad => flags.pad = Some(pad),
            }
        }
        let modifier = chars.next_if(|c| "EO".contains(*c));
        let code = chars.next().ok_or("strftime_now: the format ends within a code")?;
        let modified = match modifier {
            Some('E') => "cCxXyY".contains(code),
            Some(_) => "deHImMSuUVwWy".contains(code),
            None => true,
        };
        let written = written(code, flags, time, seconds).filter(|_| modified);
        out += &written
            .ok_or_else(|| format!("strftime_now: the code %{code} with these flags is not supported"))?;
    }
    Ok(out)
}

fn written(code: char, flags: Flags, time: DateTime, seconds: i64) -> Option<String> {
    if let Some(composite) = composite(code) {
        // Flags would hold for the whole, in ways that differ between libraries.
        let plain = flags.pad.is_none() && !flags.upper;
        return plain.then(|| strftime(composite, time, seconds).expect("known codes"));
    }
    if let Some((value, width, pad)) = number(code, time) {
        return Some(match flags.pad.unwrap_or(pad) {
            '-' => value.to_string(),
            '_' => format!("{value:width$}"),
            _ => format!("{value:0width$}"),
        });
    }
    let text = match code {
        'a' => day_name(time)[..3].to_owned(),
        'A' => day_name(time).to_owned(),
        'b' | 'h' => month_name(time)[..3].to_owned(),
        'B' => month_name(time).to_owned(),
        'p' => if time.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        'P' if !flags.upper => if time.hour() < 12 { "am" } else { "pm" }.to_owned(),
        // A time of Python's without a zone has neither a name nor an offset of one.
        'z' | 'Z' => String::new(),
        's' if flags.pad.is_none() => seconds.to_string(),
        'f' if flags.pad.is_none() => format!("{:06}", time.subsec_nanosecond() / 1000),
        'n' => "\n".to_owned(),
        't' => "\t".to_owned(),
        '%' => "%".to_owned(),
        _ => return None,
    };
    Some(if flags.upper { text.to_uppercase() } else { text })
}

/// Codes that abbreviate several others.
fn composite(code: char) -> Option<&'static str> {
    Some(match code {
        'c' => "%a %b %e %H:%M:%S %Y",
        'D' | 'x' => "%m/%d/%y",
        'F' => "%Y-%m-%d",
        'R' => "%H:%M",
        'r' => "%I:%M:%S %p",
        'T' | 'X' => "%H:%M:%S",
        _ => return None,
    })
}

/// Codes that are numbers: the value, its width and what it is padded with.
fn number(code: char, time: DateTime) -> Option<(i64, usize, char)> {
    let week = time.date().iso_week_date();
    let (sunday, day) = (time.weekday().to_sunday_zero_offset(), time.day_of_year());
    let hour = time.hour();
    let (value, width, pad) = match code {
        'C' => (i64::from(time.year() / 100), 2, '0'),
        'd' => (time.day().into(), 2, '0'),
        'e' => (time.day().into(), 2, '_'),
        'g' => (i64::from(week.year() % 100), 2, '0'),
        'G' => (week.year().into(), 1, '0'),
        'H' => (hour.into(), 2, '0'),
        'I' => (((hour + 11) % 12 + 1).into(), 2, '0'),
        'j' => (day.into(), 3, '0'),
        'k' => (hour.into(), 2, '_'),
        'l' => (((hour + 11) % 12 + 1).into(), 2, '_'),
        'm' => (time.month().into(), 2, '0'),
        'M' => (time.minute().into(), 2, '0'),
        'S' => (time.second().into(), 2, '0'),
        'u' => (time.weekday().to_monday_one_offset().into(), 1, '0'),
        // Weeks that begin with the first Sunday, or Monday, of the year.
        'U' => (((day + 6 - i16::from(sunday)) / 7).into(), 2, '0'),
        'V' => (week.week().into(), 2, '0'),
        'w' => (sunday.into(), 1, '0'),
        'W' => (((day + 6 - i16::from((sunday + 6) % 7)) / 7).into(), 2, '0'),
        'y' => (i64::from(time.year() % 100), 2, '0'),
        'Y' => (time.year().into(), 1, '0'),
        _ => return None,
    };
    Some((value, width, pad))
}

fn day_name(time: DateTime) -> &'static str {
    DAYS[time.weekday().since(Weekday::Sunday) as usize]
}

fn month_name(time: DateTime) -> &'static str {
    MONTHS[time.month() as usize - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(format: &str, seconds: i64) -> Result<String, String> {
        let time = Timestamp::from_second(seconds).unwrap();
        strftime(format, TimeZone::UTC.to_datetime(time), seconds)
    }

    #[test]
    fn dates_are_those_of_gnu_date() {
        // Recorded with `LC_ALL=C date -u -d @SECONDS`.
        for (seconds, format, want) in [
            (0, "%Y-%m-%d %H:%M:%S %A %j", "1970-01-01 00:00:00 Thursday 001"),
            (951_782_399, "%d %b %Y %a %p", "28 Feb 2000 Mon PM"),
            (951_782_400, "%d %B %Y %a", "29 February 2000 Tue"),
            (1_735_689_599, "%F %T %I %y %j", "2024-12-31 23:59:59 11 24 366"),
            (1_735_689_600, "%e. %B", " 1. January"),
            (4_107_542_400, "%F %A %j", "2100-03-01 Monday 060"),
            (1_700_000_000, "%F %T %% %n%t|", "2023-11-14 22:13:20 % \n\t|"),
            (1_735_689_600, "%-d %-m %_m %0e %-I %^a %^B %-j", "1 1  1 01 12 WED JANUARY 1"),
            (1_700_000_000, "%D %R %U %W %u %w %V %G %g %C", "11/14/23 22:13 46 46 2 2 46 2023 23 20"),
            (1_735_689_599, "%U %W %u %w %V %G %g", "52 53 2 2 01 2025 25"),
            (1_672_531_200, "%U %W %u %w %V %G %g", "01 00 7 0 52 2022 22"),
            (
                1_700_000_000,
                "%c|%x|%X|%r|%h|%k|%l|%P|%s",
                "Tue Nov 14 22:13:20 2023|11/14/23|22:13:20|10:13:20 PM|Nov|22|10|pm|1700000000",
            ),
            (1_735_689_600, "%k|%l|%Ey %Od", " 0|12|25 01"),
            // As Python's time without a zone.
            (0, "%z%Z.", "."),
        ] {
            assert_eq!(utc(format, seconds).as_deref(), Ok(want), "{seconds} {format}");
        }
    }

    #[test]
    fn zones_are_those_of_the_c_library() {
        let offset = |name: &str, seconds| {
            let time = Timestamp::from_second(seconds).unwrap();
            named(name).map(|zone| zone.to_offset(time).seconds())
        };
        // Winter and summer.
        assert_eq!(
            (offset("CET-1CEST", 1_768_000_000), offset("CET-1CEST", 1_784_000_000)),
            (Ok(3600), Ok(7200))
        );
        for name in ["Nowhere/City", "XXX", "A1", "", "../../../etc/passwd"] {
            assert_eq!(offset(name, 0), Ok(0), "{name}");
        }
        for name in ["UTC+200", "ABC1DEF2GHI", "<+03"] {
            assert!(offset(name, 0).unwrap_err().contains(name), "{name}");
        }
    }

    #[test]
    fn unknown_codes_are_refused_by_name() {
        for (format, code) in
            [("%Q", "%Q"), ("a %d %L", "%L"), ("%-D", "%D"), ("%5d", "%5"), ("%Ed", "%d"), ("%+", "%+")]
        {
            let error = utc(format, 0).unwrap_err();
            assert!(error.contains(&format!("the code {code} ")), "{error}");
        }
        assert!(utc("%", 0).unwrap_err().contains("ends within a code"));
        assert!(utc("%-", 0).is_err());
    }
}
