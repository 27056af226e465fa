//! A real Chromium without a screen, driven by `WebDriver` (<https://www.w3.org/TR/webdriver2/>).

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its own part")]

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use base64::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How a page is shown, and the colours that text on it then has to have.
const MODES: [(&str, &str); 2] = [("light", "rgb(0, 0, 0)"), ("dark", "rgb(255, 255, 255)")];

pub struct Chromium {
    driver: Child,
    session: String,
    _profile: TempDir,
}

impl Chromium {
    pub fn start() -> Self {
        let profile = TempDir::new().expect("a directory");
        let mut driver = Command::new("chromedriver");
        driver.args(["--port=0"]).env("HOME", profile.path()).env("TMPDIR", profile.path());
        let mut driver =
            driver.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("chromedriver");
        let mut lines = BufReader::new(driver.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let port =
            lines.find_map(|line| Some(line.split_once("successfully on port ")?.1.trim_end_matches('.').to_owned()));
        let url = format!("http://127.0.0.1:{}/session", port.expect("it says where"));
        let arguments = json!([
            "--headless=new",
            // Root has no sandbox.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-proxy-server",
            // No page can lead it, or load anything, from elsewhere.
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--window-size=900,600",
            format!("--user-data-dir={}", profile.path().join("profile").display()),
        ]);
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": "/usr/bin/chromium", "args": arguments},
            "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
        }}});
        let answer = call("POST", &url, Some(&wanted));
        let id = answer["sessionId"].as_str().unwrap_or_else(|| panic!("no browser: {answer}"));
        Self { driver, session: format!("{url}/{id}"), _profile: profile }
    }

    fn post(&self, what: &str, body: &Value) -> Value {
        let answer = call("POST", &format!("{}/{what}", self.session), Some(body));
        assert!(answer["error"].is_null(), "{what} {body}: {answer}\n{}", self.text());
        answer
    }

    /// Ready when the page, and those it leads to by itself, are loaded.
    pub fn open(&self, url: &str) {
        self.post("url", &json!({"url": url}));
    }

    pub fn back(&self) {
        self.post("back", &json!({}));
    }

    fn element(&self, selector: &str) -> String {
        let found = self.post("element", &json!({"using": "css selector", "value": selector}));
        let id = found.as_object().and_then(|object| object.values().next()?.as_str());
        format!("element/{}", id.unwrap_or_else(|| panic!("{selector}: {found}")))
    }

    pub fn click(&self, selector: &str) {
        self.post(&format!("{}/click", self.element(selector)), &json!({}));
    }

    pub fn fill(&self, selector: &str, text: &str) {
        self.post(&format!("{}/value", self.element(selector)), &json!({"text": text}));
    }

    pub fn script(&self, script: &str) -> Value {
        call("POST", &format!("{}/execute/sync", self.session), Some(&json!({"script": script, "args": []})))
    }

    /// What a person reads.
    pub fn text(&self) -> String {
        self.script("return document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    pub fn address(&self) -> String {
        self.script("return location.href").as_str().unwrap_or_default().to_owned()
    }

    /// Has Chromium itself do something.
    pub fn command(&self, name: &str, parameters: &Value) -> Value {
        self.post("goog/cdp/execute", &json!({"cmd": name, "params": parameters}))
    }

    /// Shows pages from now on in a window so wide, in this mode and for this medium.
    pub fn shows(&self, width: u32, mode: &str, medium: &str) {
        let metrics = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500});
        self.command("Emulation.setDeviceMetricsOverride", &metrics);
        let media = json!({"media": medium, "features": [{"name": "prefers-color-scheme", "value": mode}]});
        self.command("Emulation.setEmulatedMedia", &media);
    }

    /// Puts a picture of the whole page into `folder`.
    pub fn picture(&self, folder: &Path, name: &str) {
        std::fs::create_dir_all(folder).expect("a folder");
        let picture = self.command("Page.captureScreenshot", &json!({"format": "png", "captureBeyondViewport": true}));
        let png = base64::engine::general_purpose::STANDARD.decode(picture["data"].as_str().expect("Base64"));
        std::fs::write(folder.join(format!("{name}.png")), png.expect("Base64")).expect("a file");
    }

    /// What axe (<https://github.com/dequelabs/axe-core>), whose code is given, finds that keeps people from using the page.
    pub fn barriers(&self, axe: &str) -> Vec<String> {
        let script = format!(
            "{axe}\nconst done = arguments[arguments.length - 1];\
             axe.run(document, {{resultTypes: ['violations']}}).then(\
             found => done([found.passes.length, found.violations.map(one => \
             one.id + ': ' + one.nodes.map(node => node.html + ' ' + node.failureSummary).slice(0, 5).join(' | '))]),\
             error => done(String(error)));"
        );
        let found = self.post("execute/async", &json!({"script": script, "args": []}));
        assert!(found[0].as_u64().is_some_and(|passed| passed > 20), "{found}");
        let texts = found[1].as_array().expect("a list").iter();
        texts.map(|text| text.as_str().expect("a text").to_owned()).collect()
    }

    /// A page can be read by everybody, in all its modes: without barriers, complete without scripts, no wider than the window,
    /// and in print. Pictures of it are kept under this name.
    pub fn is_for_everybody(&self, url: &str, axe: &str, name: &str) {
        for (width, mode) in [(1200, "light"), (1200, "dark"), (360, "light"), (360, "dark")] {
            self.shows(width, mode, "screen");
            self.open(url);
            self.picture(&pictures(), &format!("{name}-{width}-{mode}"));
            let barriers = self.barriers(axe);
            assert!(barriers.is_empty(), "{name} {width} {mode}: {barriers:#?}");
            let fits = self.script("return document.documentElement.scrollWidth <= innerWidth");
            assert_eq!(fits, json!(true), "{name} {width}: it has to be scrolled sideways");
        }
        self.shows(800, "light", "print");
        self.open(url);
        self.picture(&pictures(), &format!("{name}-print"));
        assert_eq!(self.script("return getComputedStyle(document.querySelector('nav')).display"), json!("none"));
        self.shows(1200, "light", "screen");
        self.open(url);
        let with_scripts = self.text();
        self.command("Emulation.setScriptExecutionDisabled", &json!({"value": true}));
        self.open(url);
        let text = self.text();
        self.command("Emulation.setScriptExecutionDisabled", &json!({"value": false}));
        assert_eq!(text.lines().count(), with_scripts.lines().count(), "{text}");
        assert_eq!(self.script("return document.scripts.length + document.forms.length"), json!(0));
        self.stayed_here();
    }

    /// The page is readable in a light and in a dark browser, and loads nothing. Pictures of it are put into `folder`.
    pub fn finds_readable(&self, folder: &Path, name: &str) {
        std::fs::create_dir_all(folder).expect("a folder");
        for (mode, colour) in MODES {
            let media = json!({"features": [{"name": "prefers-color-scheme", "value": mode}]});
            self.post("goog/cdp/execute", &json!({"cmd": "Emulation.setEmulatedMedia", "params": media}));
            let seen = self.script(
                "const root = document.documentElement, body = getComputedStyle(document.body);\
                 return [body.color, root.scrollWidth <= innerWidth, body.maxWidth, body.fontFamily.includes('sans'),\
                 performance.getEntriesByType('resource').filter(entry => !entry.name.endsWith('/favicon.ico')).length]",
            );
            assert_eq!(seen, json!([colour, true, "544px", true, 0]), "{name} {mode}: {}", self.text());
            let picture = call("GET", &format!("{}/screenshot", self.session), None);
            let png = base64::engine::general_purpose::STANDARD.decode(picture.as_str().expect("Base64"));
            std::fs::write(folder.join(format!("{name}-{mode}.png")), png.expect("Base64")).expect("a file");
        }
    }

    /// Everything that was requested so far is of this host, and no policy was violated.
    pub fn stayed_here(&self) {
        let log = |kind: &str| self.post("se/log", &json!({"type": kind})).as_array().cloned().unwrap_or_default();
        let mut requests = 0;
        for entry in log("performance") {
            let message: Value = serde_json::from_str(entry["message"].as_str().expect("text")).expect("JSON");
            let message = &message["message"];
            if message["method"] != "Network.requestWillBeSent" {
                continue;
            }
            let url = message["params"]["request"]["url"].as_str().expect("a URL");
            assert!(["http://127.0.0.1:", "data:", "chrome:"].iter().any(|here| url.starts_with(here)), "{url}");
            requests += 1;
        }
        assert!(requests > 0, "nothing was requested");
        let refused =
            |entry: &Value| entry["message"].as_str().is_some_and(|text| text.contains("Content Security Policy"));
        let complaints: Vec<_> = log("browser").into_iter().filter(refused).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        call("DELETE", &self.session, None);
        // It may have ended.
        let _ended = self.driver.kill();
        let _reaped = self.driver.wait();
    }
}

/// The value of the answer.
fn call(method: &str, url: &str, body: Option<&Value>) -> Value {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "120", "--request", method, url]);
    if body.is_some() {
        curl.args(["--header", "Content-Type: application/json", "--data-binary", "@-"]);
    }
    let mut curl = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("curl");
    let text = body.map(Value::to_string).unwrap_or_default();
    curl.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let output = curl.wait_with_output().expect("it ends");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    answer["value"].clone()
}

/// The code of axe, if it is there.
#[allow(clippy::disallowed_methods, reason = "the environment says where the clients are")]
pub fn axe() -> Option<String> {
    let python = PathBuf::from(std::env::var_os("ALPPACA_TEST_PYTHON")?);
    std::fs::read_to_string(python.ancestors().nth(3)?.join("javascript/node_modules/axe-core/axe.min.js")).ok()
}

/// Where pictures are kept, to be looked at.
pub fn pictures() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("pictures")
}
