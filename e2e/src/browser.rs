//! A real browser without a screen: Chromium, driven through its own driver by the `WebDriver` protocol (W3C). That is a few
//! JSON calls, and the libraries for it would have the rest of the workspace compiled with other features.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use serde_json::{Value, json};
use stage::ports::Port;

/// Looks at the page until what is waited for is there.
const LOOK: Duration = Duration::from_millis(100);
const MOST_LOOKS: u32 = 600;
/// For one answer of the driver.
const PATIENCE: Duration = Duration::from_mins(1);
/// Far more than a picture has.
const MOST_BYTES: u64 = 64 << 20;

/// A browser with one page; gone when dropped, with its driver.
pub struct Browser {
    driver: Driver,
    session: String,
    _profile: tempfile::TempDir,
}

/// Of the operating system's two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Light,
    Dark,
}

/// The process that speaks with the browser.
struct Driver {
    process: Child,
    port: Port,
}

impl Driver {
    fn start(home: &std::path::Path) -> Result<Self> {
        let port = Port::reserve()?;
        let process = Command::new("chromedriver")
            .arg(format!("--port={}", port.number))
            .env("HOME", home)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("chromedriver cannot be started; install it (Debian: apt-get install chromium chromium-driver)")?;
        Ok(Self { process, port })
    }

    /// What is answered, as the protocol wraps it.
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port.number));
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let body = body_of(BufReader::new(stream))?;
        let answer: Value =
            serde_json::from_slice(&body).with_context(|| String::from_utf8_lossy(&body).into_owned())?;
        let value = &answer["value"];
        if let Some(error) = value["error"].as_str() {
            bail!("{method} {path}: {error}: {}", value["message"].as_str().unwrap_or_default());
        }
        Ok(value.clone())
    }
}

/// What follows the head of an answer; the driver keeps its side of the connection open.
fn body_of(mut answer: impl BufRead) -> Result<Vec<u8>> {
    let mut length = None;
    let mut line = String::new();
    // Bounded by the reader's patience.
    while answer.by_ref().take(MOST_BYTES).read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(value.trim().parse::<u64>()?);
        }
        line.clear();
    }
    let length = length.filter(|length| *length <= MOST_BYTES).context("an answer says how long it is")?;
    let mut body = Vec::new();
    answer.take(length).read_to_end(&mut body)?;
    Ok(body)
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Browser {
    /// # Errors
    /// There is no Chromium or no driver of it, or they do not start.
    pub fn start() -> Result<Self> {
        let profile = tempfile::Builder::new().prefix("onceward-browser-").tempdir()?;
        let driver = Driver::start(profile.path())?;
        let options = json!({ "args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--lang=en-GB",
            format!("--user-data-dir={}", profile.path().display()),
        ] });
        let wanted = json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let wanted = json!({ "capabilities": { "alwaysMatch": wanted } });
        let mut last = None;
        for _ in 0..MOST_LOOKS {
            match driver.call("POST", "/session", Some(&wanted)) {
                Ok(made) => {
                    let session = made["sessionId"].as_str().context("a session has an id")?.to_owned();
                    return Ok(Self { driver, session, _profile: profile });
                }
                // As soon as it listens, it says what is wrong.
                Err(error) if error.downcast_ref::<std::io::Error>().is_none() => return Err(error),
                Err(error) => last = Some(error),
            }
            std::thread::park_timeout(LOOK);
        }
        Err(last.context("nobody was asked")?)
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        self.driver.call(method, &format!("/session/{}{path}", self.session), body)
    }

    /// # Errors
    /// The driver's.
    pub fn open(&self, address: &str) -> Result<()> {
        self.call("POST", "/url", Some(&json!({ "url": address }))).map(drop)
    }

    /// Width and height of the page, in its own pixels, as a device of that size shows it.
    ///
    /// # Errors
    /// The driver's.
    pub fn resize(&self, width: u32, height: u32, is_phone: bool) -> Result<()> {
        let parameters = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone });
        self.devices("Emulation.setDeviceMetricsOverride", &parameters)
    }

    /// # Errors
    /// The driver's.
    pub fn prefer(&self, scheme: Scheme) -> Result<()> {
        let value = if scheme == Scheme::Dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.devices("Emulation.setEmulatedMedia", &features)
    }

    /// The devices' protocol of Chromium.
    fn devices(&self, command: &str, parameters: &Value) -> Result<()> {
        self.call("POST", "/goog/cdp/execute", Some(&json!({ "cmd": command, "params": parameters }))).map(drop)
    }

    /// What a script in the page returns.
    ///
    /// # Errors
    /// The driver's, and the script's.
    pub fn run(&self, script: &str) -> Result<Value> {
        self.run_with(script, &json!([]))
    }

    fn run_with(&self, script: &str, arguments: &Value) -> Result<Value> {
        self.call("POST", "/execute/sync", Some(&json!({ "script": script, "args": arguments })))
    }

    /// The text that is shown in the first element of a selector.
    ///
    /// # Errors
    /// There is none.
    pub fn text(&self, selector: &str) -> Result<String> {
        let script = "return document.querySelector(arguments[0])?.innerText ?? null";
        let text = self.run_with(script, &json!([selector]))?;
        Ok(text.as_str().with_context(|| format!("no {selector} on the page"))?.to_owned())
    }

    /// How many elements there are.
    ///
    /// # Errors
    /// The driver's.
    pub fn count(&self, selector: &str) -> Result<usize> {
        let count = self.run_with("return document.querySelectorAll(arguments[0]).length", &json!([selector]))?;
        Ok(usize::try_from(count.as_u64().context("a number")?)?)
    }

    /// Looks until `is_there` says so.
    ///
    /// # Errors
    /// It does not within a minute: what was seen last.
    pub fn wait(&self, what: &str, is_there: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        for _ in 0..MOST_LOOKS {
            if is_there(self)? {
                return Ok(());
            }
            std::thread::park_timeout(LOOK);
        }
        bail!("{what}: not within a minute; the page shows\n{}", self.text("body")?)
    }

    /// A picture of what is shown, as PNG.
    ///
    /// # Errors
    /// The driver's.
    pub fn picture(&self) -> Result<Vec<u8>> {
        let picture = self.call("GET", "/screenshot", None)?;
        Ok(base64::engine::general_purpose::STANDARD.decode(picture.as_str().context("a picture")?)?)
    }

    /// Fails if a script of the page failed, or something was forbidden to it.
    ///
    /// # Errors
    /// What the console says.
    pub fn assert_quiet(&self) -> Result<()> {
        let said = self.call("POST", "/se/log", Some(&json!({ "type": "browser" })))?;
        let entries = said.as_array().context("a list")?;
        let grave: Vec<&Value> = entries.iter().filter(|entry| entry["level"] == "SEVERE").collect();
        ensure!(grave.is_empty(), "the console says {grave:?}");
        Ok(())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; the driver goes after it.
        let _ = self.call("DELETE", "", None);
    }
}
