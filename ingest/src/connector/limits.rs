//! What a server says about how often it wants to be asked: `Retry-After`, `X-RateLimit-*` and `X-Rate-Limit-*`.

use reqwest::header::{HeaderMap, HeaderName};
use tideline_common::time::{Span, Timestamp};

/// The longest that a server's word holds: whatever it says, it is asked again after a day.
pub(super) const HOLD_MAX: Span = Span::DAY;
/// Numbers from here on are seconds since 1970 (from 2001 on), smaller ones are seconds from now. X writes the former, Reddit
/// the latter, under names that differ in a hyphen.
const EPOCH_FROM: f64 = 1e9;

/// Until when the server wants no request, by the headers of its answer; `None` when they do not say.
///
/// `Retry-After` counts in any answer ([RFC 9110 §10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3): seconds, or a date in
/// one of three forms). A limit counts when nothing remains of it. The end is after `now` by a day at most.
pub fn hold(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let retry = text(headers, "retry-after").and_then(|value| retry_after(value, now));
    let spent = || {
        let remaining = number(headers, &["x-rate-limit-remaining", "x-ratelimit-remaining"])?;
        // Reddit counts in fractions: less than one is none.
        if remaining >= 1.0 { None } else { reset(headers, now) }
    };
    bounded([retry, spent()].into_iter().flatten().max()?, now)
}

/// When the window ends that the answer tells of, whatever remains of it: for an answer 429 without `Retry-After`.
pub fn reset(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let at = number(headers, &["x-rate-limit-reset", "x-ratelimit-reset"])?;
    let at = if at >= EPOCH_FROM { Timestamp((at * 1e6) as i64) } else { now.plus(Span((at * 1e6) as i64)) };
    bounded(at, now)
}

/// Whether `until` is still to come. What is further away than any hold can be is none: the clock was set back since.
pub(super) fn holds(until: Timestamp, now: Timestamp) -> bool {
    until > now && until.since(now) <= HOLD_MAX
}

/// After `now`, and by a day at most; `None` for what is over.
fn bounded(at: Timestamp, now: Timestamp) -> Option<Timestamp> {
    (at > now).then(|| at.min(now.plus(HOLD_MAX)))
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    headers.get(HeaderName::from_static(name))?.to_str().ok().map(str::trim)
}

fn number(headers: &HeaderMap, names: &[&'static str]) -> Option<f64> {
    let value = names.iter().find_map(|name| text(headers, name))?;
    value.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

fn retry_after(value: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(now.plus(Span::from_secs(i64::from(seconds))));
    }
    // IMF-fixdate, which everyone writes; then the two obsolete forms, which everyone must read.
    if let Ok(date) = chrono::DateTime::parse_from_rfc2822(value) {
        return Some(Timestamp(date.timestamp_micros()));
    }
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|form| chrono::NaiveDateTime::parse_from_str(value, form).ok())
        .map(|date| Timestamp(date.and_utc().timestamp_micros()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-05T12:00:00Z").unwrap()
    }

    fn held(pairs: &[(&'static str, &str)]) -> Option<Span> {
        hold(&headers(pairs), now()).map(|until| until.since(now()))
    }

    #[test]
    fn retry_after_is_read_in_all_its_forms() {
        assert_eq!(held(&[("retry-after", "120")]), Some(Span::from_secs(120)));
        assert_eq!(held(&[("retry-after", "Mon, 05 Jan 2026 12:01:30 GMT")]), Some(Span::from_secs(90)));
        assert_eq!(held(&[("retry-after", "Monday, 05-Jan-26 12:01:30 GMT")]), Some(Span::from_secs(90)));
        assert_eq!(held(&[("retry-after", "Mon Jan  5 12:01:30 2026")]), Some(Span::from_secs(90)));
        // Over, nothing, no form at all.
        for past in ["Mon, 05 Jan 2026 11:00:00 GMT", "0", "soon", "-5", "1.5", ""] {
            assert_eq!(held(&[("retry-after", past)]), None, "{past}");
        }
        assert_eq!(held(&[("retry-after", "4000000000")]), Some(HOLD_MAX));
    }

    #[test]
    fn a_limit_holds_when_nothing_remains() {
        let epoch = (now().micros() / 1_000_000 + 30).to_string();
        let x = |remaining| {
            [("x-rate-limit-limit", "300"), ("x-rate-limit-remaining", remaining), ("x-rate-limit-reset", &*epoch)]
        };
        assert_eq!(held(&x("0")), Some(Span::from_secs(30)));
        assert_eq!(held(&x("1")), None);
        let reddit =
            |remaining| [("x-ratelimit-used", "60"), ("x-ratelimit-remaining", remaining), ("x-ratelimit-reset", "45")];
        assert_eq!(held(&reddit("0.0")), Some(Span::from_secs(45)));
        assert_eq!(held(&reddit("0.5")), Some(Span::from_secs(45)));
        assert_eq!(held(&reddit("59.0")), None);
        // The later of two holds.
        assert_eq!(
            held(&[("retry-after", "5"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "9")]),
            Some(Span::from_secs(9))
        );
        // What makes no sense holds nothing.
        assert_eq!(held(&[("x-ratelimit-remaining", "0")]), None);
        assert_eq!(held(&[("x-ratelimit-remaining", "NaN"), ("x-ratelimit-reset", "9")]), None);
        assert_eq!(reset(&headers(&x("7")), now()).map(|at| at.since(now())), Some(Span::from_secs(30)));
    }
}
