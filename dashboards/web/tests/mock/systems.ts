/** What the four systems have, as a server that has run for a day would: each in the time of its own data. */

import type { Field, Json } from "../../src/api/types";
import { ViewModel, time, type Columns } from "./model";
import { chance, pick, round, wave } from "./noise";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

const field = (name: string, type: string): Field => ({ name, type });

/* trendscope: May 2024 */
export const MOVIES_NOW = Date.parse("2024-05-06T19:55:00Z");
export const TITLES = [
  "Dune: Part Two",
  "The Fall Guy",
  "Civil War",
  "Challengers",
  "Godzilla x Kong: The New Empire",
  "Kung Fu Panda 4",
  "Kingdom of the Planet of the Apes",
  "Abigail",
  "Poor Things",
  "Monkey Man",
  "Immaculate",
  "Love Lies Bleeding",
  "The Zone of Interest",
  "Perfect Days",
];

function trend(title: string, at: number): Columns {
  const popularity = round(180 * (0.3 + chance(title)) + 24 * wave(title, at, 9 * HOUR), 2);
  const mentions = Math.max(0, Math.round(26 * chance(`${title} talk`) * (1.2 + wave(`${title} m`, at, 5 * HOUR))));
  const sentiment = round(0.34 * wave(`${title} s`, at, 7 * HOUR) + 0.12, 4);
  return {
    tmdb_popularity: popularity,
    reddit_sentiment: mentions > 0 ? sentiment : null,
    popularity,
    mentions_count: mentions,
    avg_sentiment: mentions > 0 ? sentiment : 0,
    trend_score: round(0.4 * popularity + 0.3 * mentions * 10 + 0.3 * ((mentions > 0 ? sentiment : 0) + 1) * 50, 3),
  };
}

export function movieTrends(): ViewModel {
  return new ViewModel({
    pipeline: "trendscope",
    name: "movie_trends",
    key: [field("movie_title", "string")],
    columns: [
      field("popularity", "float"),
      field("mentions_count", "int"),
      field("avg_sentiment", "float"),
      field("trend_score", "float"),
    ],
    window: "5m",
    slide: "1m",
    top: ["trend_score", "mentions_count", "popularity"],
    formulas: [
      { name: "trend_score", formula: "0.4 * popularity + 0.3 * mentions_count * 10 + 0.3 * (avg_sentiment + 1) * 50" },
    ],
    keys: TITLES.map((title) => ({ movie_title: title })),
    newest: MOVIES_NOW,
    value: (key, start) => trend(String(key.movie_title), start),
  });
}

const MODEL_ERRORS: [string, number][] = [
  ["v1", 9],
  ["v2", 5],
];

/** Newest first, as a lookup answers: of each window and version a record when it is predicted, and one when it is settled. */
export function predictions(title: string, limit: number): Columns[] {
  const rows: Columns[] = [];
  for (let n = -1; rows.length < limit; n += 1) {
    const at = MOVIES_NOW - n * 60_000;
    const actual = Number(trend(title, at).trend_score);
    for (const [version, error] of MODEL_ERRORS) {
      const predicted = round(actual + error * wave(`${title} ${version}`, at, HOUR), 3);
      const predicts = {
        event_time: time(at),
        movie_title: title,
        timestamp: time(at),
        window_end: time(at + 300_000),
        predicted_trend_score: predicted,
        model_version: version,
      };
      if (n >= 0)
        rows.push({
          ...predicts,
          actual_trend_score: actual,
          prediction_error: round(actual - predicted, 3),
          status: "settled",
        });
      rows.push({ ...predicts, actual_trend_score: null, prediction_error: null, status: "predicted" });
    }
  }
  return rows.slice(0, limit);
}

const model = (version: string, mae: number, rmse: number, r2: number): Json => ({
  version,
  features: [],
  learning_rate: 0.01,
  l2: 0.001,
  intercept_rate: 0.01,
  clip_gradient: 1e12,
  predictions: 19_220,
  evaluated: 19_204,
  mae,
  rmse,
  r2,
});

export const LEARNERS: Json = {
  predictions: [
    {
      name: "trend",
      view: "movie_trends",
      target: "trend_score",
      topic: "trend_predictions",
      models: [model("v1", 4.182, 6.024, 0.941), model("v2", 2.317, 3.406, 0.978)],
      partitions: [{ prediction: "trend", partition: 0, refused: null, keys: 14, drift: ["2024-05-06T18"] }],
    },
  ],
};

export function predictionQuality(): ViewModel {
  return new ViewModel({
    pipeline: "trendscope",
    name: "prediction_quality",
    key: [field("model_version", "string")],
    columns: [field("settled", "int"), field("mean_absolute_error", "float")],
    window: "1h",
    slide: "1h",
    top: ["settled"],
    keys: MODEL_ERRORS.map(([version]) => ({ model_version: version })),
    newest: Math.floor(MOVIES_NOW / HOUR) * HOUR,
    value: (key) => ({ settled: 812, mean_absolute_error: key.model_version === "v1" ? 3.94 : 2.21 }),
  });
}

/* movie-viewing: June 2026, windows of ten seconds */
export const VIEWING_NOW = Date.parse("2026-06-14T20:41:20Z");
export const FILMS = Array.from({ length: 22 }, (_, n) => `m-${String(101 + n * 7)}`);
export const USERS = Array.from({ length: 40 }, (_, n) => `u-${String(4_000 + n * 13)}`);
const EVENTS: [string, number][] = [
  ["view", 310],
  ["pause", 84],
  ["resume", 79],
  ["complete", 61],
  ["rating", 34],
];

function stream(
  name: string,
  key: Field,
  columns: Field[],
  keys: Columns[],
  value: (key: Columns, start: number) => Columns | null,
): ViewModel {
  return new ViewModel({
    pipeline: "movie-viewing",
    name,
    key: [key],
    columns,
    window: "10s",
    slide: "10s",
    top: [columns[0]?.name ?? ""],
    keys,
    newest: VIEWING_NOW,
    value,
  });
}

export function viewingStreams(): ViewModel[] {
  const whole = (value: number): number => Math.max(0, Math.round(value));
  return [
    stream(
      "stream_event_distribution",
      field("event_type", "string"),
      [field("events", "int")],
      EVENTS.map(([type]) => ({ event_type: type })),
      (key, start) => {
        const usual = EVENTS.find(([type]) => type === key.event_type)?.[1] ?? 0;
        return { events: whole(usual * (1 + 0.28 * wave(String(key.event_type), start, 420_000))) };
      },
    ),
    stream(
      "stream_movie_views",
      field("movie_id", "string"),
      [field("views", "int")],
      FILMS.map((movie) => ({ movie_id: movie })),
      (key, start) => {
        const views = whole(
          46 * chance(`${String(key.movie_id)} v`) ** 2 * (1 + 0.5 * wave(String(key.movie_id), start, 300_000)),
        );
        return views === 0 ? null : { views };
      },
    ),
    stream(
      "stream_user_activity",
      field("user_id", "string"),
      [field("events", "int")],
      USERS.map((user) => ({ user_id: user })),
      (key, start) => {
        const events = whole(6 * chance(`${String(key.user_id)} ${start}`) ** 2);
        return events === 0 ? null : { events };
      },
    ),
    stream(
      "stream_ratings",
      field("movie_id", "string"),
      [field("ratings", "int"), field("avg_rating", "float")],
      FILMS.map((movie) => ({ movie_id: movie })),
      (key, start) => {
        const ratings = whole(5 * chance(`${String(key.movie_id)} r ${start}`) - 1.2);
        return ratings === 0
          ? null
          : { ratings, avg_rating: round(2.6 + 2.2 * chance(`${String(key.movie_id)} stars`), 3) };
      },
    ),
  ];
}

export function viewingReports(): Record<string, { columns: Field[]; rows: Columns[] }> {
  const hours = Array.from({ length: 72 }, (_, n) => {
    const at = Math.floor(VIEWING_NOW / HOUR) * HOUR - (71 - n) * HOUR;
    const daily = 1.1 + Math.sin(((at / HOUR - 14) / 24) * 2 * Math.PI);
    return {
      hour: time(at),
      events: Math.round(92_000 * daily + 9_000 * chance(`h${n}`)),
      active_users: Math.round(9_100 * daily + 700 * chance(`a${n}`)),
    };
  });
  const popular = FILMS.map((movie) => ({
    movie_id: movie,
    views: Math.round(48_000 * chance(`${movie} v`) ** 1.4 + 900),
  }))
    .sort((a, b) => b.views - a.views)
    .map((row, n) => ({ rank: n + 1, ...row, viewers: Math.round(row.views * (0.55 + 0.2 * chance(row.movie_id))) }));
  const ratings = FILMS.map((movie) => {
    const total = Math.round(2_400 * chance(`${movie} v`) + 60);
    const good = chance(`${movie} stars`);
    const shares = [0.05 + 0.2 * (1 - good), 0.08 + 0.12 * (1 - good), 0.2, 0.25 + 0.1 * good, 0.1 + 0.35 * good];
    const sum = shares.reduce((a, b) => a + b, 0);
    const stars = shares.map((share) => Math.round((total * share) / sum));
    const counted = stars.reduce((a, b) => a + b, 0);
    return {
      movie_id: movie,
      ratings: counted,
      avg_rating: round(stars.reduce((a, count, n) => a + count * (n + 1), 0) / counted, 4),
      ...Object.fromEntries(stars.map((count, n) => [`rating_${n + 1}`, count])),
    } as Columns;
  });
  const users = Array.from({ length: 230 }, (_, n) => ({
    user_id: `u-${String(1_000 + n)}`,
    total_events: 12 + Math.round(400 * chance(`e${n}`) ** 2),
    movies_watched: 1 + Math.round(40 * chance(`w${n}`)),
    avg_duration: round(300 + 5_400 * chance(`d${n}`), 2),
  }));
  const typed = (rows: Columns[]): Field[] =>
    Object.entries(rows[0] ?? {}).map(([name, value]) => field(name, typeof value === "number" ? "float" : "string"));
  return {
    batch_user_stats: { columns: typed(users), rows: users },
    batch_popular_movies: { columns: typed(popular), rows: popular },
    batch_ratings_stats: { columns: typed(ratings), rows: ratings },
    batch_hourly_stats: { columns: typed(hours), rows: hours },
  };
}

/* stock-sentiment: January 2014, the time of its tweets */
export const STOCKS_NOW = Date.parse("2014-01-02T20:31:00Z");
const STOCKS: [string, number, number][] = [
  ["AAPL", 553.1, 34],
  ["TSLA", 150.1, 29],
  ["GOOG", 1_115.4, 17],
  ["FB", 54.7, 23],
  ["TWTR", 67.5, 26],
  ["AMZN", 398.0, 12],
  ["NFLX", 362.8, 11],
  ["MSFT", 37.2, 9],
  ["GE", 27.5, 4],
  ["BAC", 16.1, 8],
  ["F", 15.4, 5],
  ["SPY", 183.0, 15],
  ["GLD", 118.0, 6],
  ["XOM", 99.8, 3],
];
const TWEETS = [
  "$% breaking out on volume, love this setup",
  "Took profits in $% here, nice trade",
  "$% looks terrible, stay away",
  "Anyone else adding $% on this dip? Great entry",
  "$% options are cheap going into earnings",
  "Short $% below the 50 day, ugly chart",
  "$% holding support so far",
  "Awful guidance from $%, disappointed",
  "$% new high of the day!",
  "Watching $% for a close above resistance",
];

function stock(symbol: string, at: number): Columns {
  const [, price = 10, talk = 2] = STOCKS.find(([name]) => name === symbol) ?? [];
  const open = round(price * (1 + 0.021 * wave(`${symbol} p`, at - 300_000, 6 * HOUR)), 2);
  const close = round(price * (1 + 0.021 * wave(`${symbol} p`, at, 6 * HOUR)), 2);
  const mentions = Math.max(1, Math.round(talk * (1 + 0.7 * wave(`${symbol} t`, at, 2 * HOUR))));
  return {
    mentions,
    sentiment: round(0.18 + 0.38 * wave(`${symbol} s`, at, 3 * HOUR), 4),
    p95: round(0.7 + 0.2 * chance(`${symbol} ${at}`), 4),
    open,
    close,
    volume: Math.round(price * 900 * (1 + 0.8 * wave(`${symbol} v`, at, HOUR))),
    price_change: round(close / open - 1, 6),
  };
}

export function symbolSentiment(): ViewModel {
  return new ViewModel({
    pipeline: "stock-sentiment",
    name: "symbol_sentiment",
    key: [field("symbol", "string")],
    columns: [
      field("mentions", "int"),
      field("sentiment", "float"),
      field("close", "float"),
      field("volume", "int"),
      field("price_change", "float"),
    ],
    window: "5m",
    slide: "1m",
    top: ["mentions"],
    keys: STOCKS.map(([symbol]) => ({ symbol })),
    newest: STOCKS_NOW,
    value: (key, start) => stock(String(key.symbol), start),
  });
}

export function tweets(symbol: string, limit: number): Columns[] {
  return Array.from({ length: Math.min(limit, 60) }, (_, n) => {
    const text = pick(TWEETS, `${symbol} ${n}`);
    return {
      event_time: time(STOCKS_NOW + 290_000 - n * 7_000),
      text: text.replace("%", symbol),
      user_id: `trader_${Math.floor(chance(`${symbol}${n}`) * 9_000)}`,
      sentiment: round(
        /terrible|ugly|Awful/.test(text)
          ? -0.55 - 0.2 * chance(`${n}`)
          : /love|nice|Great|high/.test(text)
            ? 0.5 + 0.3 * chance(`${n}`)
            : 0,
        4,
      ),
      symbol,
    };
  });
}

/* customer-sentiment: June 2026 */
export const CUSTOMERS_NOW = Date.parse("2026-06-14T12:03:00Z");
export const CITY_NAMES: [string | null, number][] = [
  ["New York", 12],
  ["Los Angeles", 8],
  ["Chicago", 6],
  ["Toronto", 5],
  ["Mexico City", 5],
  ["São Paulo", 6],
  ["Buenos Aires", 3],
  ["London", 10],
  ["Manchester", 3],
  ["Dublin", 2],
  ["Paris", 5],
  ["Lyon", 2],
  ["Madrid", 4],
  ["Barcelona", 3],
  ["Berlin", 5],
  ["Munich", 3],
  ["Amsterdam", 3],
  ["Rome", 3],
  ["Warsaw", 2],
  ["Istanbul", 3],
  ["Dubai", 2],
  ["Mumbai", 5],
  ["Bengaluru", 4],
  ["Singapore", 3],
  ["Tokyo", 4],
  ["Sydney", 4],
  [null, 2],
];
export const PRODUCTS: [string, number][] = [
  ["Aurora Phone", 22],
  ["Nimbus Cloud", 16],
  ["Pulse Earbuds", 14],
  ["Harbor Pay", 14],
  ["Aurora Watch", 12],
  ["Trail Router", 12],
  ["Nimbus Mail", 10],
];
const CHANNELS: [string, number][] = [
  ["social", 48],
  ["support", 21],
  ["review", 17],
  ["chat", 8],
  ["survey", 6],
];
const EMOTION_SHARES: [string, number][] = [
  ["joy", 27],
  ["neutral", 31],
  ["anger", 15],
  ["sadness", 9],
  ["surprise", 8],
  ["fear", 5],
  ["disgust", 5],
];
const SENTIMENT_COLUMNS = [
  field("messages", "int"),
  field("avg_sentiment", "float"),
  field("positive", "int"),
  field("neutral", "int"),
  field("negative", "int"),
  field("avg_churn_risk", "float"),
  field("high_churn", "int"),
  field("avg_toxicity", "float"),
  field("emotions", "map"),
];

/** What `share` in a hundred of all messages amounts to, for one key. */
function feeling(name: string, share: number, at: number): Columns {
  const messages = Math.max(1, Math.round(9.4 * share * (1 + 0.25 * wave(`${name} n`, at, HOUR))));
  const mood = round(0.16 + 0.5 * (chance(`${name} mood`) - 0.5) + 0.12 * wave(`${name} f`, at, 2 * HOUR), 4);
  const positive = Math.round(messages * Math.min(0.8, 0.36 + 0.7 * mood));
  const negative = Math.min(messages - positive, Math.max(0, Math.round(messages * (0.3 - 0.5 * mood))));
  return {
    messages,
    avg_sentiment: mood,
    positive,
    neutral: messages - positive - negative,
    negative,
    avg_churn_risk: round(0.21 - 0.2 * mood, 4),
    high_churn: Math.round(messages * Math.max(0.01, 0.07 - 0.15 * mood)),
    avg_toxicity: round(Math.max(0.01, 0.06 - 0.1 * mood), 4),
    emotions: Object.fromEntries(
      EMOTION_SHARES.map(([emotion, part]) => [
        emotion,
        Math.round((messages * part * (1 + 0.3 * wave(`${name}${emotion}`, at, HOUR))) / 100),
      ]),
    ),
  };
}

function sentimentView(name: string, key: string, keys: [string | null, number][]): ViewModel {
  return new ViewModel({
    pipeline: "customer-sentiment",
    name,
    key: [field(key, "string")],
    columns: SENTIMENT_COLUMNS,
    window: "60s",
    slide: "60s",
    top: ["messages", "high_churn", "avg_sentiment"],
    keys: keys.map(([value]) => ({ [key]: value })),
    newest: CUSTOMERS_NOW,
    value: (row, start) => {
      const share = keys.find(([value]) => value === row[key])?.[1] ?? 1;
      return feeling(`${name} ${String(row[key])}`, share, start);
    },
  });
}

const SAID: [string, string, number, number][] = [
  ["The new {p} is wonderful, battery lasts two days", "joy", 0.82, 0.04],
  ["{p} stopped working after the update. Third time this month, I am cancelling.", "anger", -0.71, 0.94],
  ["How do I change the address of my {p} account?", "neutral", 0.0, 0.12],
  ["Support answered within minutes, thank you!", "joy", 0.66, 0.03],
  ["Charged twice by {p} and nobody answers. Leaving for a competitor.", "anger", -0.63, 0.97],
  ["Did not expect the {p} to be this light", "surprise", 0.21, 0.06],
  ["A bit sad that {p} dropped the old app", "sadness", -0.38, 0.41],
  ["Is my data safe with {p}? That mail looked strange", "fear", -0.19, 0.33],
  ["{p} works. Does what it should.", "neutral", 0.1, 0.08],
  ["The smell of burnt plastic from my {p} is disgusting", "disgust", -0.58, 0.62],
];

/** The message of a number: the same as a record of the output and as a row of the lookup. */
export function message(n: number, product?: string): Columns {
  const [text, emotion, sentiment, churn] = pick(SAID, `text ${n}`);
  const about = product ?? pick(PRODUCTS, `product ${n}`)[0];
  const [city] = pick(CITY_NAMES, `city ${n}`);
  return {
    id: `${product ?? "live"}-${n}`,
    event_time: time(CUSTOMERS_NOW + 1_000 * (n % 50)),
    text: text.replace("{p}", about),
    city,
    product: about,
    channel: pick(CHANNELS, `channel ${n}`)[0],
    platform: pick(["twitter", "reddit", "instagram", "web", "email"], `platform ${n}`),
    author: `customer_${Math.floor(chance(`author ${n}`) * 40_000)}`,
    language: "en",
    sentiment,
    label: sentiment >= 0.05 ? "positive" : sentiment <= -0.05 ? "negative" : "neutral",
    emotion,
    toxicity: round(0.3 * Math.max(0, -sentiment) * chance(`tox ${n}`), 3),
    churn_risk: churn,
  };
}

export function customerViews(): ViewModel[] {
  const atRisk = Array.from({ length: 9 }, (_, n) => `customer_${String(1_200 + n * 431)}`);
  return [
    sentimentView("sentiment_overall", "scope", [["all", 100]]),
    sentimentView(
      "sentiment_by_city",
      "city",
      CITY_NAMES.map(([city, share]) => [city, (share * 100) / 115]),
    ),
    sentimentView("sentiment_by_product", "product", PRODUCTS),
    sentimentView("sentiment_by_channel", "channel", CHANNELS),
    sentimentView("sentiment_by_platform", "platform", [
      ["twitter", 40],
      ["reddit", 30],
      ["web", 20],
      ["email", 10],
    ]),
    new ViewModel({
      pipeline: "customer-sentiment",
      name: "customers_at_risk",
      key: [field("author", "string")],
      columns: [
        field("messages", "int"),
        field("churn_risk", "float"),
        field("last_product", "string"),
        field("last_text", "string"),
      ],
      window: "60s",
      slide: "60s",
      top: ["churn_risk", "messages"],
      keys: atRisk.map((author) => ({ author })),
      newest: CUSTOMERS_NOW,
      value: (key, start) => {
        const author = String(key.author);
        const product = pick(PRODUCTS, author)[0];
        const text =
          chance(author) < 0.5
            ? "Third time this month, I am cancelling."
            : "Charged twice and nobody answers. Leaving.";
        return {
          messages: 1,
          churn_risk: round(0.72 + 0.27 * chance(`${author} ${start}`), 3),
          avg_sentiment: -0.6,
          last_product: product,
          last_text: text,
        };
      },
    }),
  ];
}

export const LOOKUPS: [string, string, string][] = [
  ["stock-sentiment", "tweets", "symbol"],
  ["stock-sentiment", "market_data", "symbol"],
  ["trendscope", "predictions", "movie_title"],
  ["customer-sentiment", "messages_by_product", "product"],
];

export { DAY };
