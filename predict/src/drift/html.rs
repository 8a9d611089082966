//! The report as one page that needs nothing else: no script, nothing from outside, light and dark as the reader has it.
//! Every text of the data is escaped.

use std::fmt::Write as _;

use super::compare::short;
use super::report::{Bin, ColumnDrift, DriftReport, ErrorStatistics, Extent, Share, Verdict};
use super::sample::Kind;

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1b2430;--soft:#5b6776;--line:#d8dee6;--page:#fff;--card:#f5f7fa;--bad:#b3261e;--good:#1a6b3c;--old:#8aa0b8;--new:#d97706}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf2;--soft:#a3afbe;--line:#33404f;--page:#12181f;--card:#1b232d;--bad:#ff8a80;--good:#7bd8a0;--old:#7189a3;--new:#f5a742}}
*{box-sizing:border-box}body{margin:0 auto;max-width:72rem;padding:1.5rem;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:2rem 0 .5rem}p{margin:.3rem 0;color:var(--soft)}
.lead{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:1rem;margin-top:1rem}.lead strong{font-size:1.15rem}
table{width:100%;border-collapse:collapse}caption{text-align:left;color:var(--soft);padding:.2rem 0}
th,td{text-align:left;padding:.4rem .6rem;border-bottom:1px solid var(--line);vertical-align:middle}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
th{color:var(--soft);font-weight:600}.wrap{overflow-x:auto}.bad{color:var(--bad);font-weight:600}.good{color:var(--good)}.none{color:var(--soft)}
svg{display:block}.old{fill:var(--old)}.new{fill:var(--new)}.key{display:inline-block;width:.8em;height:.8em;border-radius:.15em;margin:0 .3em 0 .8em;background:var(--old)}.key.b{background:var(--new)}
";

/// The page.
pub fn page(report: &DriftReport) -> String {
    let mut out = String::with_capacity(16 << 10);
    // Writing to a text cannot fail.
    let _ = write(report, &mut out);
    out
}

fn write(report: &DriftReport, out: &mut String) -> std::fmt::Result {
    let name = escape(&report.prediction);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>Drift of {name}</title><style>{STYLE}</style></head>\n<body><main><h1>Drift of {name}</h1>"
    )?;
    let dataset = &report.dataset;
    let (class, verdict) = match (dataset.tested, dataset.drift) {
        (0, _) => ("none", "Nothing could be tested"),
        (_, true) => ("bad", "The data has drifted"),
        (_, false) => ("good", "The data has not drifted"),
    };
    write!(
        out,
        "<div class=\"lead\"><strong class=\"{class}\">{verdict}</strong><p>{} of {} features have drifted ({}); \
         the data counts as drifted from {} on.</p><p>Reference: {}. Current: {}.</p></div>",
        dataset.drifted,
        dataset.tested,
        percent(dataset.share),
        percent(dataset.threshold),
        extent(&report.reference),
        extent(&report.current),
    )?;
    out.push_str(
        "<h2>Features</h2><div class=\"wrap\"><table><caption>Distribution of both samples\
         <span class=\"key\"></span>reference<span class=\"key b\"></span>current</caption>\
         <thead><tr><th scope=\"col\">Feature<th scope=\"col\">Kind<th scope=\"col\">Distribution<th scope=\"col\">Test\
         <th scope=\"col\" class=\"n\">Score<th scope=\"col\" class=\"n\">Threshold<th scope=\"col\">Drift</tr></thead><tbody>",
    );
    for feature in &report.features {
        column(feature, out)?;
    }
    out.push_str("</tbody></table></div>");
    errors(report, out)?;
    quality(report, out)?;
    out.push_str("</main></body></html>\n");
    Ok(())
}

fn column(feature: &ColumnDrift, out: &mut String) -> std::fmt::Result {
    let kind = match feature.kind {
        Kind::Numeric => "numbers",
        Kind::Categorical => "categories",
    };
    write!(out, "<tr><th scope=\"row\">{}</th><td>{kind}</td><td>", escape(&feature.column))?;
    bars(&feature.distribution, out)?;
    out.push_str("</td>");
    verdict(&feature.verdict, out)?;
    out.push_str("</tr>");
    Ok(())
}

fn verdict(verdict: &Verdict, out: &mut String) -> std::fmt::Result {
    match verdict {
        Verdict::Tested { method, score, threshold, drifted } => write!(
            out,
            "<td>{}</td><td class=\"n\">{}</td><td class=\"n\">{} {}</td><td class=\"{}\">{}</td>",
            method.name(),
            short(*score),
            if method.is_p_value() { "≤" } else { "≥" },
            short(*threshold),
            if *drifted { "bad" } else { "good" },
            if *drifted { "drifted" } else { "as before" },
        ),
        Verdict::Untested { reason } => {
            write!(out, "<td colspan=\"3\" class=\"none\">{}</td><td class=\"none\">not tested</td>", escape(reason))
        }
    }
}

/// Two bars per bin, beside each other; each says what it is when it is pointed at, and all of it in the label.
fn bars(bins: &[Bin], out: &mut String) -> std::fmt::Result {
    const HEIGHT: f64 = 36.0;
    const WIDTH: f64 = 9.0;
    let greatest = bins.iter().fold(0.0_f64, |most, bin| most.max(bin.reference).max(bin.current));
    if greatest <= 0.0 {
        return Ok(());
    }
    let width = bins.len() as f64 * (2.0 * WIDTH + 4.0);
    write!(out, "<svg width=\"{width}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"")?;
    for bin in bins {
        let (before, now) = (percent(bin.reference), percent(bin.current));
        write!(out, "{}: {before} before, {now} now; ", escape(&bin.label))?;
    }
    out.push_str("\">");
    for (at, bin) in bins.iter().enumerate() {
        let left = at as f64 * (2.0 * WIDTH + 4.0);
        for (class, share, x) in [("old", bin.reference, left), ("new", bin.current, left + WIDTH)] {
            let height = share / greatest * HEIGHT;
            write!(
                out,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{:.2}\" width=\"{WIDTH}\" height=\"{height:.2}\"><title>{}: {}</title></rect>",
                HEIGHT - height,
                escape(&bin.label),
                percent(share),
            )?;
        }
    }
    out.push_str("</svg>");
    Ok(())
}

fn errors(report: &DriftReport, out: &mut String) -> std::fmt::Result {
    out.push_str(
        "<h2>Errors of the predictions</h2><div class=\"wrap\"><table><caption>Predicted less actual: before, and now</caption>\
         <thead><tr><th scope=\"col\">Version<th scope=\"col\">Distribution<th scope=\"col\" class=\"n\">Mean\
         <th scope=\"col\" class=\"n\">MAE<th scope=\"col\" class=\"n\">RMSE<th scope=\"col\" class=\"n\">Count\
         <th scope=\"col\">Test<th scope=\"col\" class=\"n\">Score<th scope=\"col\" class=\"n\">Threshold<th scope=\"col\">Drift\
         </tr></thead><tbody>",
    );
    if report.errors.is_empty() {
        out.push_str("<tr><td colspan=\"10\" class=\"none\">No predictions have been compared yet.</td></tr>");
    }
    for version in &report.errors {
        write!(out, "<tr><th scope=\"row\">{}</th><td>", escape(&version.version))?;
        bars(&version.drift.distribution, out)?;
        out.push_str("</td>");
        let both = |value: fn(&ErrorStatistics) -> String| {
            let of = |statistics: &Option<ErrorStatistics>| statistics.as_ref().map_or_else(|| "–".to_owned(), value);
            format!("<td class=\"n\">{} → {}</td>", of(&version.reference), of(&version.current))
        };
        out.push_str(&both(|s| short(s.mean)));
        out.push_str(&both(|s| short(s.mae)));
        out.push_str(&both(|s| short(s.rmse)));
        out.push_str(&both(|s| s.count.to_string()));
        verdict(&version.drift.verdict, out)?;
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    Ok(())
}

fn quality(report: &DriftReport, out: &mut String) -> std::fmt::Result {
    out.push_str(
        "<h2>Quality of the data</h2><div class=\"wrap\"><table><caption>Missing values, and values outside of the range of the \
         reference</caption><thead><tr><th scope=\"col\">Feature<th scope=\"col\" class=\"n\">Missing before\
         <th scope=\"col\" class=\"n\">Missing now<th scope=\"col\">Missing<th scope=\"col\" class=\"n\">Range before\
         <th scope=\"col\" class=\"n\">Outside now<th scope=\"col\">Outliers</tr></thead><tbody>",
    );
    for quality in &report.quality {
        write!(
            out,
            "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td>{}",
            escape(&quality.column),
            share(quality.missing_reference),
            share(quality.missing_current),
            check(quality.missing_as_before, "as before", "changed"),
        )?;
        match &quality.outliers {
            Some(outliers) => write!(
                out,
                "<td class=\"n\">{} – {}</td><td class=\"n\">{}</td>{}",
                short(outliers.left),
                short(outliers.right),
                share(outliers.current),
                check(outliers.none, "none", "some"),
            )?,
            None => {
                out.push_str("<td class=\"n none\">–</td><td class=\"n none\">–</td><td class=\"none\">no range</td>");
            }
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    Ok(())
}

fn check(good: bool, yes: &str, no: &str) -> String {
    if good { format!("<td class=\"good\">{yes}</td>") } else { format!("<td class=\"bad\">{no}</td>") }
}

fn share(share: Share) -> String {
    format!("{} of {} ({})", share.count, share.of, percent(share.share))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn extent(extent: &Extent) -> String {
    format!("{} to {}, {} rows", escape(&extent.from), escape(&extent.to), extent.rows)
}

/// The text with what has a meaning in HTML, in content and in quoted attributes, written out.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Neither may stand in a document.
            c if c.is_control() && !matches!(c, '\t' | '\n') => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use tideline_common::time::Timestamp;

    use super::*;
    use crate::drift::sample::{Column, Sample};
    use crate::drift::{DriftSpec, compare};

    /// Opened tags are closed in order, but for those that need no end here.
    fn assert_nested(html: &str) {
        let mut open = Vec::new();
        for piece in html.split('<').skip(1) {
            let (tag, _) = piece.split_once('>').expect("a tag ends");
            let name = tag.split([' ', '/']).find(|name| !name.is_empty()).unwrap_or_default().to_owned();
            if tag.starts_with('/') {
                while let Some(last) = open.pop() {
                    if last == name {
                        break;
                    }
                    // The end of a cell of a heading may be left out.
                    assert_eq!(last, "th", "{name} ends inside {last}");
                }
            } else if !tag.starts_with('!') && name != "meta" {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?} stay open");
    }

    #[test]
    fn a_page_is_whole_and_escaped() {
        let evil = "<script>alert('x')</script>&\"";
        let sample = |shift: f64| Sample {
            from: Timestamp(0),
            to: Timestamp(3_600_000_000),
            features: vec![
                Column::numeric(evil, (0..50).map(|i| Some(f64::from(i) + shift)).collect()),
                Column::categorical("label", vec![Some(evil.to_owned()), None, Some("b\u{1}".to_owned())]),
                Column::numeric("nothing", vec![None; 3]),
            ],
            errors: vec![Column::numeric(evil, (0..50).map(|i| Some(f64::from(i) * shift)).collect())],
        };
        let report = compare(evil, &sample(1.0), &sample(40.0), &DriftSpec::default());
        let html = page(&report);
        assert!(!html.contains("<script") && !html.contains("alert('x')") && html.contains("&lt;script&gt;"));
        assert!(!html.contains("http:") && !html.contains("https:") && !html.contains("src="), "nothing from outside");
        assert!(html.contains("prefers-color-scheme:dark") && html.contains("The data has drifted"));
        assert!(html.contains("the reference has no value") && !html.contains('\u{1}'));
        assert_nested(&html);
    }

    #[test]
    fn nothing_at_all_is_a_page_too() {
        let empty = Sample { from: Timestamp(0), to: Timestamp(0), features: Vec::new(), errors: Vec::new() };
        let html = page(&compare("score", &empty, &empty, &DriftSpec::default()));
        assert!(html.contains("Nothing could be tested") && html.contains("No predictions have been compared yet"));
        assert_nested(&html);
    }
}
