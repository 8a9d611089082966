import { describe, expect, it } from "vitest";
import {
  bytes,
  change,
  clock,
  count,
  day,
  interval,
  label,
  moment,
  number,
  percent,
  sentimentName,
  signed,
  span,
} from "../../src/format";

describe("numbers", () => {
  it("have a dash where there is none", () => {
    for (const nothing of [null, undefined, NaN, Infinity]) {
      for (const write of [number, count, signed, percent, change, span, bytes]) expect(write(nothing)).toBe("–");
    }
  });

  it("are grouped, and have the decimals that were asked for", () => {
    expect(number(1_234_567)).toBe("1,234,567");
    expect(number(2.345, 2)).toBe("2.35");
    expect(number(2, 1)).toBe("2.0");
  });

  it("are short as counts, and never read 1,000.0 of a unit", () => {
    expect([0, 950, 9_999, 10_000, 12_400, 999_949, 999_950, 3_100_000, 999_949_999, 2e9].map(count)).toEqual([
      "0",
      "950",
      "9,999",
      "10.0 k",
      "12.4 k",
      "999.9 k",
      "1.0 M",
      "3.1 M",
      "999.9 M",
      "2.0 G",
    ]);
    expect(count(-20_000)).toBe("-20.0 k");
  });

  it("carry a real minus, and no sign when they are shown as zero", () => {
    expect([0.421, -0.1, 0, -0.001, 0.004].map((value) => signed(value))).toEqual([
      "+0.42",
      "−0.10",
      "0.00",
      "0.00",
      "0.00",
    ]);
    expect(change(-0.034)).toBe("−3.40 %");
    expect(percent(0.125, 1)).toBe("12.5 %");
  });

  it("are bytes in powers of 1,024", () => {
    expect([0, 512, 1_024, 1_536, 20_480, 3.4 * 1_048_576].map(bytes)).toEqual([
      "0 B",
      "512 B",
      "1.0 KiB",
      "1.5 KiB",
      "20 KiB",
      "3.4 MiB",
    ]);
  });
});

describe("times", () => {
  it("are UTC, wherever the reader is", () => {
    expect(moment("2014-01-02T23:59:59+02:00")).toBe("2014-01-02 21:59:59");
    expect(day("2014-01-02T00:00:00Z")).toBe("2014-01-02");
    expect(clock(Date.UTC(2014, 0, 2, 9, 5, 7))).toBe("09:05");
    expect(clock("2014-01-02T09:05:07Z", true)).toBe("09:05:07");
  });

  it("are a dash when they cannot be read", () => {
    for (const nothing of [null, undefined, "", "soon"])
      expect([moment(nothing), day(nothing), clock(nothing)]).toEqual(["–", "–", "–"]);
  });

  it("of windows have seconds only where these matter, and the day of the end only when it is another", () => {
    expect(interval("2014-01-02T09:30:00Z", "2014-01-02T09:35:00Z")).toBe("2014-01-02 09:30–09:35");
    expect(interval("2014-01-02T09:30:10Z", "2014-01-02T09:30:20Z")).toBe("2014-01-02 09:30:10–09:30:20");
    expect(interval("2014-01-02T23:58:00Z", "2014-01-03T00:03:00Z")).toBe("2014-01-02 23:58–2014-01-03 00:03");
    expect(interval(null, "2014-01-02T09:35:00Z")).toBe("–");
  });

  it("that passed are in the unit that fits", () => {
    const [s, m, h, d] = [1_000, 60_000, 3_600_000, 86_400_000];
    expect(
      [
        140,
        999,
        s,
        2.44 * s,
        9.97 * s,
        59.9 * s,
        m,
        59 * m,
        h,
        3 * h + 20 * m,
        23 * h + 59.9 * m,
        2 * d + 5 * h,
        12 * d,
      ].map(span),
    ).toEqual([
      "140 ms",
      "999 ms",
      "1.0 s",
      "2.4 s",
      "10 s",
      "60 s",
      "1 min",
      "59 min",
      "1 h",
      "3 h 20 min",
      "1 d",
      "2 d 5 h",
      "12 d",
    ]);
    expect(span(-90 * m)).toBe("−1 h 30 min");
  });
});

describe("words", () => {
  it("name sentiments by VADER's thresholds", () => {
    expect([0.05, 0.049, -0.049, -0.05, null].map(sentimentName)).toEqual([
      "positive",
      "neutral",
      "neutral",
      "negative",
      "unknown",
    ]);
  });

  it("are made of names", () => {
    expect([label("app_store"), label("joy"), label(" ")]).toEqual(["App store", "Joy", "–"]);
  });
});
