//! What customers say: phrases put together by feeling, product and place.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::pick;

/// What a message feels like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Emotion {
    Joy,
    Surprise,
    Neutral,
    Anger,
    Sadness,
    Disgust,
    Fear,
}

/// Product → what people talk about when they talk about it.
const ASPECTS: [(&str, [&str; 6]); 7] = [
    ("Aurora Phone", ["battery", "camera", "screen", "latest update", "face unlock", "charger"]),
    ("Aurora Watch", ["strap", "step counter", "battery", "sleep tracking", "display", "heart rate sensor"]),
    ("Pulse Earbuds", ["sound", "noise cancelling", "charging case", "fit", "microphone", "pairing"]),
    ("Nimbus Cloud", ["sync", "upload speed", "storage plan", "web app", "sharing", "backup"]),
    ("Nimbus Mail", ["spam filter", "search", "mobile app", "calendar", "login", "new layout"]),
    ("Harbor Pay", ["checkout", "refund", "transfer", "fraud alert", "app", "card"]),
    ("Trail Router", ["wifi range", "setup", "firmware", "parental controls", "speed", "guest network"]),
];

// In all of them: {p} product, {a} aspect, {c} city, {n} a small number.
const JOY: [&str; 16] = [
    "I love my {p}, the {a} is fantastic",
    "The {a} of the {p} is the best I have ever had",
    "Really happy with the {p}, great {a}",
    "{p} support in {c} solved my problem in {n} minutes, wonderful people",
    "So glad I switched to {p}, the {a} just works",
    "The new {a} on {p} is brilliant, well done",
    "{n} months with my {p} and I am still delighted",
    "My whole family enjoys the {p}, thank you",
    "Five stars for {p}: beautiful, fast, and the {a} is perfect",
    "Excellent {a}, excellent price, I recommend {p} to everybody",
    "Best purchase this year: {p}. The {a} makes me smile every day",
    "Thanks to the team behind {p}, the {a} is so much better now",
    "Had a great experience with {p} today, friendly and quick",
    "{p} is awesome, I use the {a} all the time",
    "The {a} is lovely and setting up {p} was easy and fun",
    "Super impressed by {p}, the {a} is worth every cent",
];
const SURPRISE: [&str; 10] = [
    "Wow, I did not expect the {a} of {p} to be this good",
    "Who knew that {p} could do that? The {a} is amazing",
    "I can't believe how fast {p} is after the update, wow",
    "Unexpectedly good: the {a} on my {p}",
    "Surprised by a free upgrade of {p} today, nice",
    "Whoa, {p} just fixed the {a} overnight",
    "OMG the {a} of the new {p}, I was not ready",
    "Did anyone else notice the {a} of {p} got twice as good?",
    "I was sceptical, but {p} blew me away",
    "{n} days without a charge, is that even possible, {p}?",
];
const NEUTRAL: [&str; 18] = [
    "Does anyone know how to change the {a} settings on {p}?",
    "Is {p} available in {c}?",
    "I ordered a {p} on Monday, it arrives in {n} days",
    "Comparing {p} with two others, the {a} looks similar",
    "Using {p} since version {n}",
    "The {a} of {p} can be found under settings, general",
    "What is the difference between the two {p} plans?",
    "Updated {p} to version {n}.2 this morning",
    "The shop in {c} has {p} in stock",
    "How long does the {a} take on {p}?",
    "Looking for the manual of {p}",
    "{p} has a page about the {a}, link below",
    "My colleague in {c} uses {p} for work",
    "Which {p} should I get for {n} people?",
    "The invoice for {p} says {n} items, please confirm the address",
    "There is a meeting about the {a} of {p} at {n} pm",
    "I would like to move my {p} account to another email address",
    "Here is my review of {p} after {n} weeks: the {a} is average",
];
const ANGER: [&str; 16] = [
    "The {a} of {p} is broken AGAIN, this is unacceptable",
    "{n} calls to support and nobody can fix the {a}, I am furious",
    "Worst {a} ever, {p} is a complete waste of money",
    "I want a refund for {p}, the {a} has failed {n} times this week",
    "Why do you keep ignoring your customers, {p}? Fix the {a}!",
    "{p} charged me twice and support hung up on me, outrageous",
    "Terrible service in {c}, waited {n} hours because of {p}",
    "So angry right now: {p} deleted everything, the {a} is useless",
    "Stop pushing updates that ruin the {a} of {p}!",
    "{p} is a scam, the {a} never worked",
    "Ridiculous: {p} is down in {c} for the {n}th time",
    "I hate the new {a}, give me the old {p} back",
    "Your {a} is a joke, {p}. Horrible experience",
    "No answer for {n} weeks. {p} does not care at all",
    "How can you sell a {p} with such a terrible {a}?",
    "The {a} crashed in the middle of my work, thanks for nothing {p}",
];
const SADNESS: [&str; 10] = [
    "So disappointed in {p}, I really wanted the {a} to work",
    "Sad to see the {a} of {p} get worse with every update",
    "My {p} died after {n} weeks, I miss it already",
    "I lost all my photos because of {p}, heartbroken",
    "Unfortunately the {a} of {p} lets me down every day",
    "It hurts to say, but {p} used to be so much better",
    "Feeling let down by {p} support in {c}",
    "The {a} failed on my birthday trip, such a pity",
    "I regret buying {p}, the {a} is poor",
    "Sorry to say goodbye to {p} after {n} years, the {a} is gone",
];
const DISGUST: [&str; 8] = [
    "Disgusting how {p} treats people in {c}",
    "The {p} arrived dirty and used, gross",
    "Sick of the ads in {p}, the {a} is revolting",
    "The {a} smells like burnt plastic, {p} is nasty",
    "Shameful business practice by {p}, I feel sick",
    "The {a} of {p} is an ugly, awful mess",
    "What a repulsive way to bill customers, {p}",
    "Appalled by the {a} of {p}, cheap garbage",
];
const FEAR: [&str; 8] = [
    "Worried that {p} leaked my data, somebody logged in from {c}",
    "I am afraid the {a} of my {p} will catch fire, it gets so hot",
    "Scared to update {p}, the last one broke the {a}",
    "Is {p} safe? The {a} shows {n} payments I never made",
    "Anxious about my savings since {p} locked my account",
    "The {a} stopped and I panic, all my work is on {p}",
    "Nervous about the {a}, please tell me that my {p} is not hacked",
    "Terrifying: {p} showed me the messages of a stranger",
];
const LEAVING: [&str; 10] = [
    "I am cancelling my subscription.",
    "Switching to a competitor tomorrow.",
    "Please cancel my account.",
    "How do I close my account and get a refund?",
    "That was the last time, I am switching to another provider.",
    "Not renewing my contract.",
    "We are leaving, the whole office.",
    "Cancel my plan, now.",
    "I will never buy from you again.",
    "Already looking for an alternative.",
];
const INSULTS: [&str; 8] = [
    "You idiots.",
    "What a bunch of clowns.",
    "Stupid, incompetent fools.",
    "Shut up and fix your crap.",
    "Liars and thieves, all of you.",
    "Your support is run by morons.",
    "This damn company sucks.",
    "You people are pathetic.",
];
const OPENERS: [&str; 14] = [
    "Honestly,",
    "Update:",
    "So,",
    "Just a quick note:",
    "After {n} weeks:",
    "Ok,",
    "Greetings from {c}.",
    "FYI:",
    "Hm.",
    "Seriously,",
    "To be fair,",
    "Long time customer here.",
    "First time writing.",
    "Again from {c}:",
];

/// Language → what is said in it: positive, neutral, negative; `{p}` is the product, `{n}` a small number.
const FOREIGN: [(&str, [[&str; 6]; 3]); 4] = [
    (
        "es",
        [
            [
                "Me encanta {p}, funciona de maravilla",
                "Muy contento con {p}, lo recomiendo",
                "Excelente atención al cliente de {p}, gracias",
                "{p} es lo mejor que he comprado este año",
                "Llevo {n} meses con {p} y estoy feliz",
                "¡Qué buena actualización de {p}!",
            ],
            [
                "¿Alguien sabe cómo configurar {p}?",
                "He pedido {p}, llega en {n} días",
                "¿Cuánto cuesta {p} ahora?",
                "Uso {p} en el trabajo desde hace {n} meses",
                "¿Dónde encuentro el manual de {p}?",
                "{p} tiene una versión nueva",
            ],
            [
                "{p} no funciona desde hace {n} días, qué vergüenza",
                "Pésimo servicio de {p}, quiero mi dinero",
                "Estoy harto de {p}, voy a cancelar",
                "{p} me ha cobrado {n} veces, es un robo",
                "Muy decepcionado con {p}",
                "Nadie responde en {p}, horrible",
            ],
        ],
    ),
    (
        "pt",
        [
            [
                "Adoro o {p}, funciona muito bem",
                "Muito feliz com o {p}, recomendo",
                "Atendimento excelente do {p}, obrigado",
                "{p} foi a melhor compra do ano",
                "{n} meses com o {p} e continuo satisfeito",
                "Que ótima atualização do {p}!",
            ],
            [
                "Alguém sabe configurar o {p}?",
                "Pedi o {p}, chega em {n} dias",
                "Quanto custa o {p} agora?",
                "Uso o {p} no trabalho há {n} meses",
                "Onde encontro o manual do {p}?",
                "O {p} tem uma versão nova",
            ],
            [
                "O {p} não funciona há {n} dias, uma vergonha",
                "Péssimo serviço do {p}, quero meu dinheiro de volta",
                "Cansei do {p}, vou cancelar",
                "O {p} me cobrou {n} vezes, é um roubo",
                "Muito decepcionado com o {p}",
                "Ninguém responde no {p}, horrível",
            ],
        ],
    ),
    (
        "fr",
        [
            [
                "J'adore {p}, ça marche très bien",
                "Très content de {p}, je recommande",
                "Excellent service client de {p}, merci",
                "{p} est mon meilleur achat de l'année",
                "{n} mois avec {p} et toujours ravi",
                "Quelle belle mise à jour de {p} !",
            ],
            [
                "Quelqu'un sait comment régler {p} ?",
                "J'ai commandé {p}, livraison dans {n} jours",
                "Combien coûte {p} maintenant ?",
                "J'utilise {p} au travail depuis {n} mois",
                "Où se trouve le manuel de {p} ?",
                "Il y a une nouvelle version de {p}",
            ],
            [
                "{p} ne marche plus depuis {n} jours, c'est honteux",
                "Service déplorable chez {p}, remboursez-moi",
                "J'en ai marre de {p}, je résilie",
                "{p} m'a débité {n} fois, c'est du vol",
                "Très déçu par {p}",
                "Personne ne répond chez {p}, affreux",
            ],
        ],
    ),
    (
        "de",
        [
            [
                "Ich liebe {p}, läuft einwandfrei",
                "Sehr zufrieden mit {p}, klare Empfehlung",
                "Toller Kundendienst bei {p}, danke",
                "{p} war mein bester Kauf in diesem Jahr",
                "Seit {n} Monaten {p} und immer noch begeistert",
                "Was für ein gutes Update von {p}!",
            ],
            [
                "Weiß jemand, wie man {p} einrichtet?",
                "{p} bestellt, kommt in {n} Tagen",
                "Was kostet {p} jetzt?",
                "Ich benutze {p} seit {n} Monaten bei der Arbeit",
                "Wo finde ich die Anleitung zu {p}?",
                "Es gibt eine neue Version von {p}",
            ],
            [
                "{p} geht seit {n} Tagen nicht, eine Frechheit",
                "Mieser Service bei {p}, ich will mein Geld zurück",
                "Ich habe genug von {p}, ich kündige",
                "{p} hat {n} Mal abgebucht, das ist Betrug",
                "Sehr enttäuscht von {p}",
                "Bei {p} antwortet niemand, furchtbar",
            ],
        ],
    ),
];

fn one<'a>(rng: &mut ChaCha8Rng, phrases: &[&'a str]) -> &'a str {
    phrases[rng.random_range(0..phrases.len())]
}

fn fill(rng: &mut ChaCha8Rng, phrase: &str, product: &str, city: &str) -> String {
    let aspect = match ASPECTS.iter().find(|(known, _)| *known == product) {
        Some((_, aspects)) => one(rng, aspects),
        None => "app",
    };
    phrase
        .replace("{p}", product)
        .replace("{a}", aspect)
        .replace("{c}", city)
        .replace("{n}", &rng.random_range(2..10).to_string())
}

/// Something said in English with a feeling.
pub(super) fn english(rng: &mut ChaCha8Rng, emotion: Emotion, product: &str, city: &str) -> String {
    let of = |emotion| -> &'static [&'static str] {
        match emotion {
            Emotion::Joy => &JOY,
            Emotion::Surprise => &SURPRISE,
            Emotion::Neutral => &NEUTRAL,
            Emotion::Anger => &ANGER,
            Emotion::Sadness => &SADNESS,
            Emotion::Disgust => &DISGUST,
            Emotion::Fear => &FEAR,
        }
    };
    let mut phrase = String::new();
    if rng.random_bool(0.3) {
        phrase.push_str(one(rng, &OPENERS));
        phrase.push(' ');
    }
    phrase.push_str(one(rng, of(emotion)));
    if rng.random_bool(0.3) {
        // A second thought, mostly of the same feeling.
        let second = if rng.random_bool(0.8) { emotion } else { Emotion::Neutral };
        phrase.push_str(". ");
        phrase.push_str(one(rng, of(second)));
    }
    fill(rng, &phrase, product, city)
}

/// Something said in another language; in English when the language is not known.
pub(super) fn foreign(rng: &mut ChaCha8Rng, language: &str, sentiment: &str, product: &str) -> String {
    let Some((_, phrases)) = FOREIGN.iter().find(|(known, _)| *known == language) else {
        return english(rng, Emotion::Neutral, product, "");
    };
    let of_sentiment = match sentiment {
        "positive" => &phrases[0],
        "neutral" => &phrases[1],
        _ => &phrases[2],
    };
    let phrase = one(rng, of_sentiment);
    fill(rng, phrase, product, "")
}

/// Somebody says that they leave.
pub(super) fn leaving(rng: &mut ChaCha8Rng) -> &'static str {
    one(rng, &LEAVING)
}

/// Somebody forgets their manners.
pub(super) fn insult(rng: &mut ChaCha8Rng) -> &'static str {
    one(rng, &INSULTS)
}

/// The text as people write it where they write it: tags, names, emojis, shouting, haste.
pub(super) fn as_on(rng: &mut ChaCha8Rng, platform: &str, product: &str, emotion: Emotion, mut text: String) -> String {
    let tag: String = product.split(' ').collect();
    if rng.random_bool(0.12) {
        text = text.to_lowercase();
    } else if matches!(emotion, Emotion::Anger | Emotion::Joy) && rng.random_bool(0.05) {
        text = text.to_uppercase();
    }
    if rng.random_bool(0.06) {
        text = mistyped(rng, &text);
    }
    if matches!(emotion, Emotion::Anger | Emotion::Joy | Emotion::Surprise) && rng.random_bool(0.3) {
        let marks: &&str = pick(rng, &[("!", 60), ("!!", 25), ("!!!", 15)]);
        text.push_str(marks);
    }
    let emojis: &[&str] = match emotion {
        Emotion::Joy => &["😍", "😊", "🎉", "❤️", ":)", "👍"],
        Emotion::Surprise => &["😮", "🤯", "😲"],
        Emotion::Neutral => &["🤔", "👀", "🙏"],
        Emotion::Anger => &["😡", "🤬", "👎", ":("],
        Emotion::Sadness => &["😢", "💔", "😞", ":'("],
        Emotion::Disgust => &["🤢", "🤮"],
        Emotion::Fear => &["😱", "😨"],
    };
    let social = matches!(platform, "twitter" | "instagram" | "reddit");
    if rng.random_bool(if social { 0.25 } else { 0.05 }) {
        text.push(' ');
        text.push_str(one(rng, emojis));
    }
    match platform {
        "twitter" if rng.random_bool(0.35) => format!("@{tag}Help {text}"),
        "twitter" | "instagram" if rng.random_bool(0.35) => format!("{text} #{tag}"),
        "twitter" if rng.random_bool(0.1) => {
            format!("{text} https://t.co/{:06x}", rng.random_range(0..0x0100_0000))
        }
        "email" if rng.random_bool(0.6) => {
            format!(
                "{} {text}. {}",
                one(rng, &["Hello,", "Dear team,", "Hi,"]),
                one(rng, &["Regards", "Thanks", "Best wishes"])
            )
        }
        _ => text,
    }
}

/// Two neighbouring letters change places.
fn mistyped(rng: &mut ChaCha8Rng, text: &str) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    let at = rng.random_range(0..letters.len().max(2) - 1);
    if letters.get(at).is_some_and(|c| c.is_alphabetic()) && letters.get(at + 1).is_some_and(|c| c.is_alphabetic()) {
        letters.swap(at, at + 1);
    }
    letters.into_iter().collect()
}
