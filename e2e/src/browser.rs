//! A real browser without a screen, driven through `WebDriver`: Chromium by its own driver.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};
use stage::ports::Port;

/// Looks at the page until what is waited for is there.
const LOOK: Duration = Duration::from_millis(100);
const MOST_LOOKS: u32 = 600;

/// A browser with one page; gone when dropped, with its driver.
pub struct Browser {
    runtime: tokio::runtime::Runtime,
    client: Client,
    driver: Child,
    _port: Port,
    _profile: tempfile::TempDir,
}

/// Of the operating system's two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Light,
    Dark,
}

/// What the driver knows beyond the standard.
#[derive(Debug)]
enum Extra {
    /// The devices' protocol of Chromium.
    Devices { command: &'static str, parameters: Value },
    /// What the console said since somebody asked last.
    Console,
}

impl WebDriverCompatibleCommand for Extra {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        let session = session.unwrap_or_default();
        base.join(&match self {
            Self::Devices { .. } => format!("session/{session}/goog/cdp/execute"),
            Self::Console => format!("session/{session}/se/log"),
        })
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        let body = match self {
            Self::Devices { command, parameters } => json!({ "cmd": command, "params": parameters }),
            Self::Console => json!({ "type": "browser" }),
        };
        (http::Method::POST, Some(body.to_string()))
    }
}

impl Browser {
    /// # Errors
    /// There is no Chromium or no driver of it, or they do not start.
    pub fn start() -> Result<Self> {
        let (port, profile) = (Port::reserve()?, tempfile::Builder::new().prefix("onceward-browser-").tempdir()?);
        let driver = Command::new("chromedriver")
            .arg(format!("--port={}", port.number))
            .env("HOME", profile.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("chromedriver cannot be started; install it (Debian: apt-get install chromium chromium-driver)")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut starting = Starting { driver: Some(driver) };
        let client = runtime.block_on(connect(&format!("http://127.0.0.1:{}", port.number), profile.path()))?;
        let driver = starting.driver.take().context("it was just started")?;
        Ok(Self { runtime, client, driver, _port: port, _profile: profile })
    }

    /// # Errors
    /// The driver's.
    pub fn open(&self, address: &str) -> Result<()> {
        Ok(self.runtime.block_on(self.client.goto(address))?)
    }

    /// Width and height of the page, in its own pixels, as a device of that size shows it.
    ///
    /// # Errors
    /// The driver's.
    pub fn resize(&self, width: u32, height: u32, is_phone: bool) -> Result<()> {
        let parameters = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone });
        self.devices("Emulation.setDeviceMetricsOverride", parameters)
    }

    /// # Errors
    /// The driver's.
    pub fn prefer(&self, scheme: Scheme) -> Result<()> {
        let value = if scheme == Scheme::Dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.devices("Emulation.setEmulatedMedia", features)
    }

    fn devices(&self, command: &'static str, parameters: Value) -> Result<()> {
        self.runtime.block_on(self.client.issue_cmd(Extra::Devices { command, parameters }))?;
        Ok(())
    }

    /// What a script in the page returns.
    ///
    /// # Errors
    /// The driver's, and the script's.
    pub fn run(&self, script: &str) -> Result<Value> {
        Ok(self.runtime.block_on(self.client.execute(script, vec![]))?)
    }

    /// The text that is shown in the first element of a selector.
    ///
    /// # Errors
    /// There is none.
    pub fn text(&self, selector: &str) -> Result<String> {
        let text = async { self.client.find(Locator::Css(selector)).await?.text().await };
        self.runtime.block_on(text).with_context(|| selector.to_owned())
    }

    /// How many elements there are.
    ///
    /// # Errors
    /// The driver's.
    pub fn count(&self, selector: &str) -> Result<usize> {
        Ok(self.runtime.block_on(self.client.find_all(Locator::Css(selector)))?.len())
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
        Ok(self.runtime.block_on(self.client.screenshot())?)
    }

    /// Fails if a script of the page failed, or something was forbidden to it.
    ///
    /// # Errors
    /// What the console says.
    pub fn assert_quiet(&self) -> Result<()> {
        let said = self.runtime.block_on(self.client.issue_cmd(Extra::Console))?;
        let entries = said.as_array().context("a list")?;
        let grave: Vec<&Value> = entries.iter().filter(|entry| entry["level"] == "SEVERE").collect();
        ensure!(grave.is_empty(), "the console says {grave:?}");
        Ok(())
    }
}

/// Ends the driver if the browser does not come up.
struct Starting {
    driver: Option<Child>,
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(driver) = &mut self.driver {
            end(driver);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; the driver only then.
        let _ = self.runtime.block_on(self.client.clone().close());
        end(&mut self.driver);
    }
}

fn end(driver: &mut Child) {
    let _ = driver.kill();
    let _ = driver.wait();
}

/// As soon as the driver listens.
async fn connect(driver: &str, profile: &Path) -> Result<Client> {
    let options = json!({
        "args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--lang=en-GB",
            format!("--user-data-dir={}", profile.display()),
        ],
    });
    let mut capabilities = Capabilities::new();
    capabilities.insert("goog:chromeOptions".to_owned(), options);
    capabilities.insert("goog:loggingPrefs".to_owned(), json!({ "browser": "ALL" }));
    let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
    builder.capabilities(capabilities);
    let mut last = None;
    for _ in 0..MOST_LOOKS {
        match builder.connect(driver).await {
            Ok(client) => return Ok(client),
            Err(error @ fantoccini::error::NewSessionError::SessionNotCreated(_)) => return Err(error.into()),
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(last.context("nobody was asked")?.into())
}
