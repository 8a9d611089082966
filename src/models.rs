//! Configured models that classify texts: each is computed by a program of its own, `tideline-transformer`.
//!
//! It is started when the first expression that uses the model is compiled for records, loads the model once, and is asked over
//! its standard input, one request at a time (`docs/adr/0017`). It ends with this process. One that ended by itself is
//! started again, once per request.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use tideline_transform::models::{Model, Models};
use xxhash_rust::xxh3::xxh3_128;

use crate::config::Config;

/// The program.
const PROGRAM: &str = "tideline-transformer";
/// Answers that are remembered, per model, of each of two generations: what a record's expressions ask of one text, and
/// what is said again and again, is computed once.
const REMEMBERED: usize = 8192;
/// How long a program may take to load a model, and for the answer to a request: a hundred texts of 512 tokens take a
/// model of usual size two or three minutes on one core. One that takes longer hangs, and is ended.
const PATIENCE: Duration = Duration::from_mins(10);

/// Lets expressions use the models of `config`: once per process, the first ones stay.
pub fn install(config: &Config) {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| tideline_transform::models::install(models(config)));
}

/// Loads every model of `config`, each in turn, and lets go of it.
///
/// # Errors
/// All models that cannot be used, with the folder or the file.
pub fn check(config: &Config) -> anyhow::Result<()> {
    let failed = models(config).into_iter().filter_map(|(name, model)| {
        let error = model.prepare().err()?;
        Some(format!("model '{name}': {error}"))
    });
    let failed: Vec<String> = failed.collect();
    if failed.is_empty() { Ok(()) } else { anyhow::bail!("{}", failed.join("\n")) }
}

fn models(config: &Config) -> Models {
    let model = |(name, model): (&String, &crate::config::ModelConfig)| {
        let program = model.program.clone().unwrap_or_else(program);
        let folder = Folder::new(model.path.clone(), program);
        (name.clone(), Arc::new(folder) as Arc<dyn Model>)
    };
    config.models.iter().map(model).collect()
}

/// Beside this program, or wherever the system looks for programs.
fn program() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|program| program.with_file_name(PROGRAM));
    beside.filter(|program| program.is_file()).unwrap_or_else(|| PathBuf::from(PROGRAM))
}

/// A model in a folder.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    program: PathBuf,
    /// [`PATIENCE`], but in tests.
    patience: Duration,
    labels: OnceLock<Vec<String>>,
    /// Held while it is asked: a request at a time bounds the memory of the program, and whoever waits computes nothing.
    asked: Mutex<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    running: Option<Running>,
    recent: Recent,
}

/// A line that the program prints.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Labels(Vec<String>),
    Probabilities(Vec<Vec<f64>>),
    Error(String),
}

impl Folder {
    fn new(path: PathBuf, program: PathBuf) -> Self {
        Self { path, program, patience: PATIENCE, labels: OnceLock::new(), asked: Mutex::default() }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // A group of its own: the signal that tells this process to stop must not end what it asks to the last.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        command
    }

    fn cannot_start(&self, error: &std::io::Error) -> String {
        let program = self.program.display();
        format!("cannot start {program}, which computes models (docs/enrichment.md tells how it is built): {error}")
    }

    /// Started and ready.
    fn start(&self) -> Result<Running, String> {
        let child = self.command().arg(&self.path).spawn().map_err(|error| self.cannot_start(&error))?;
        let running = Running::new(child)?;
        match running.line(self.patience) {
            Ok(Line::Labels(_)) => Ok(running),
            Ok(Line::Error(message)) => Err(message),
            Ok(Line::Probabilities(_)) => Err(format!("{} answers what nobody asked", self.program.display())),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, error: &std::io::Error) -> String {
        format!("{}: {} failed: {error}", self.path.display(), self.program.display())
    }

    /// Asks the program, which is started where it does not run, and again where it has ended.
    fn ask(&self, running: &mut Option<Running>, texts: &[&str]) -> Result<Vec<Vec<f64>>, String> {
        let mut again = running.is_some();
        loop {
            let asked = match running {
                Some(running) => running,
                None => running.insert(self.start()?),
            };
            match asked.ask(texts, self.patience) {
                Ok(Line::Probabilities(answers)) if answers.len() == texts.len() => return Ok(answers),
                Ok(Line::Error(message)) => return Err(message),
                // Whatever it says now belongs to another question.
                Ok(_) => {
                    *running = None;
                    return Err(format!("{} did not answer what it was asked", self.program.display()));
                }
                Err(error) => {
                    *running = None;
                    if !std::mem::take(&mut again) {
                        return Err(self.failed(&error));
                    }
                    tracing::warn!(folder = %self.path.display(), %error, "a model ended, and is started again");
                }
            }
        }
    }
}

impl Model for Folder {
    fn labels(&self) -> Result<Vec<String>, String> {
        if let Some(labels) = self.labels.get() {
            return Ok(labels.clone());
        }
        let output = self.command().arg("--labels").arg(&self.path).stdin(Stdio::null()).output();
        let output = output.map_err(|error| self.cannot_start(&error))?;
        match line(&output.stdout) {
            Ok(Line::Labels(labels)) => Ok(self.labels.get_or_init(|| labels).clone()),
            Ok(Line::Error(message)) => Err(message),
            Ok(Line::Probabilities(_)) => Err(format!("{} answers what nobody asked", self.program.display())),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn prepare(&self) -> Result<(), String> {
        let mut asked = self.asked.lock();
        if asked.running.is_none() {
            asked.running = Some(self.start()?);
        }
        Ok(())
    }

    fn probabilities(&self, texts: &[&str]) -> Result<Vec<Vec<f64>>, String> {
        let mut asked = self.asked.lock();
        let Asked { running, recent } = &mut *asked;
        let keys: Vec<u128> = texts.iter().map(|text| xxh3_128(text.as_bytes())).collect();
        let mut answers: Vec<Option<Arc<[f64]>>> = keys.iter().map(|key| recent.get(*key)).collect();
        let unknown: Vec<usize> = (0..texts.len()).filter(|at| answers[*at].is_none()).collect();
        if !unknown.is_empty() {
            let new: Vec<&str> = unknown.iter().map(|at| texts[*at]).collect();
            for (at, answer) in unknown.into_iter().zip(self.ask(running, &new)?) {
                let answer: Arc<[f64]> = answer.into();
                recent.insert(keys[at], Arc::clone(&answer));
                answers[at] = Some(answer);
            }
        }
        Ok(answers.iter().flatten().map(|answer| answer.to_vec()).collect())
    }
}

/// The program, at work. A thread talks to it, so that nobody waits longer for it than he wants.
#[derive(Debug)]
struct Running {
    child: Child,
    requests: SyncSender<Vec<u8>>,
    lines: Receiver<std::io::Result<Vec<u8>>>,
}

impl Running {
    fn new(mut child: Child) -> Result<Self, String> {
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a program was started without input and output".to_owned());
        };
        let (requests, taken) = sync_channel::<Vec<u8>>(1);
        let (told, lines) = sync_channel(1);
        // It ends with the program, whose input and output are closed then, and when nobody asks any more.
        let talk = move || {
            let mut output = BufReader::new(output);
            loop {
                let mut text = Vec::new();
                let read = output.read_until(b'\n', &mut text).map(|_| text);
                if told.send(read).is_err() {
                    return;
                }
                let Ok(request) = taken.recv() else { return };
                if let Err(error) = input.write_all(&request) {
                    // Whoever waits is told when the sender is dropped, too.
                    let _ = told.send(Err(error));
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("tideline-model".to_owned()).spawn(talk);
        thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Self { child, requests, lines })
    }

    fn ask(&self, texts: &[&str], patience: Duration) -> std::io::Result<Line> {
        let mut request = serde_json::to_vec(texts)?;
        request.push(b'\n');
        self.requests.send(request).map_err(|_| ended())?;
        self.line(patience)
    }

    fn line(&self, patience: Duration) -> std::io::Result<Line> {
        match self.lines.recv_timeout(patience) {
            Ok(text) => line(&text?),
            Err(RecvTimeoutError::Timeout) => {
                let message = format!("it has not answered for {} s", patience.as_secs_f64());
                Err(std::io::Error::new(std::io::ErrorKind::TimedOut, message))
            }
            Err(RecvTimeoutError::Disconnected) => Err(ended()),
        }
    }
}

impl Drop for Running {
    /// Nothing is left of it, also where it had been given up.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ended() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "it ended")
}

fn line(text: &[u8]) -> std::io::Result<Line> {
    if text.is_empty() {
        return Err(ended());
    }
    Ok(serde_json::from_slice(text)?)
}

/// Answers by the hash of the text. Two generations: when the young one is full, the old one goes.
#[derive(Debug, Default)]
struct Recent {
    young: HashMap<u128, Arc<[f64]>>,
    old: HashMap<u128, Arc<[f64]>>,
}

impl Recent {
    fn get(&mut self, key: u128) -> Option<Arc<[f64]>> {
        if let Some(answer) = self.young.get(&key) {
            return Some(Arc::clone(answer));
        }
        let answer = self.old.remove(&key)?;
        self.insert(key, Arc::clone(&answer));
        Some(answer)
    }

    fn insert(&mut self, key: u128, answer: Arc<[f64]>) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, answer);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A folder with a program that follows a script, and the model that it computes.
    fn scripted(script: &str) -> (tempfile::TempDir, Folder) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let model = Folder::new(folder.path().to_owned(), program);
        (folder, model)
    }

    #[test]
    fn a_program_is_started_once_and_again_when_it_ended() {
        // It notes each start and each question, answers one question, and ends.
        let (folder, model) = scripted(
            r#"[ "$1" = --labels ] && echo '{"labels": ["a", "b"]}' && exit
               echo start >> "$1/log"; echo '{"labels": ["a", "b"]}'
               read -r line; printf '%s\n' "$line" >> "$1/log"; echo '{"probabilities": [[0.25, 0.75]]}'"#,
        );
        assert_eq!(model.labels().unwrap(), ["a", "b"]);
        model.prepare().unwrap();
        model.prepare().unwrap();
        let log = || std::fs::read_to_string(folder.path().join("log")).unwrap();
        assert_eq!(log(), "start\n");
        assert_eq!(model.probabilities(&["one"]).unwrap(), [[0.25, 0.75]]);
        // Known: nobody is asked.
        assert_eq!(model.probabilities(&["one"]).unwrap(), [[0.25, 0.75]]);
        assert_eq!(model.probabilities(&["one", "two\nlines", "one"]).unwrap(), [[0.25, 0.75]; 3]);
        assert_eq!(log(), "start\n[\"one\"]\nstart\n[\"two\\nlines\"]\n");
    }

    #[test]
    fn what_is_wrong_is_told_and_bounded() {
        let (_folder, model) = scripted(r#"echo '{"error": "/m: there is no such folder"}'; exit 1"#);
        assert_eq!(model.labels().unwrap_err(), "/m: there is no such folder");
        assert_eq!(model.prepare().unwrap_err(), "/m: there is no such folder");
        assert_eq!(model.probabilities(&["a"]).unwrap_err(), "/m: there is no such folder");
        // One that ends whenever it is asked is started again, but not for ever.
        let (folder, model) = scripted(r#"echo start >> "$1/log"; echo '{"labels": ["a"]}'; read line"#);
        model.prepare().unwrap();
        let error = model.probabilities(&["a"]).unwrap_err();
        assert!(error.contains("failed: it ended") && error.contains(folder.path().to_str().unwrap()), "{error}");
        assert_eq!(std::fs::read_to_string(folder.path().join("log")).unwrap(), "start\nstart\n");
        // Too few answers are none.
        let (_folder, model) = scripted(r#"echo '{"labels": ["a"]}'; read line; echo '{"probabilities": [[1.0]]}'"#);
        assert!(model.probabilities(&["a", "b"]).unwrap_err().contains("did not answer what it was asked"));
        let model = Folder::new("/m".into(), "/nowhere/program".into());
        for error in [model.labels().unwrap_err(), model.prepare().unwrap_err()] {
            assert!(error.contains("cannot start /nowhere/program"), "{error}");
        }
    }

    #[test]
    fn one_that_hangs_is_ended() {
        // While it loads, and while it is asked; the one that is started in its place hangs as well.
        let (_folder, mut model) = scripted("exec sleep 600");
        model.patience = Duration::from_millis(200);
        assert!(model.prepare().unwrap_err().contains("has not answered for 0.2 s"));
        let (folder, mut model) =
            scripted(r#"echo $$ >> "$1/log"; echo '{"labels": ["a"]}'; read line; exec sleep 600"#);
        model.patience = Duration::from_millis(500);
        model.prepare().unwrap();
        assert!(model.probabilities(&["a"]).unwrap_err().contains("has not answered for 0.5 s"));
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        let pids: Vec<&str> = log.lines().collect();
        assert_eq!(pids.len(), 2);
        for pid in pids {
            assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid} is still there");
        }
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut recent = Recent::default();
        let answer: Arc<[f64]> = vec![1.0].into();
        recent.insert(0, Arc::clone(&answer));
        for key in 1..100_000_u128 {
            recent.insert(key, Arc::clone(&answer));
            // What is used stays.
            assert!(recent.get(0).is_some());
            assert!(recent.young.len() <= REMEMBERED && recent.old.len() <= REMEMBERED);
        }
        assert!(recent.get(1).is_none() && recent.get(99_999).is_some());
    }
}
