//! A real browser, headless Chromium, used as a person would use it.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dotmesh_testkit::wait_for;
use fantoccini::elements::Element;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use url::Url;

use crate::world::SOON;

/// The accessibility checker axe, as `scripts/setup.sh` installs it.
const AXE: &str = "target/tools/axe.min.js";

/// The width of a window on a desktop, in pixels.
pub(crate) const WIDE: u32 = 1280;

/// The width of a phone's screen, in pixels.
pub(crate) const PHONE: u32 = 390;

/// The colour scheme of a page.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Theme {
    Light,
    Dark,
}

/// One window with its own profile.
pub(crate) struct Browser {
    client: Client,
    /// The hub's address.
    url: String,
    _driver: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens a window for the pages of a hub.
    pub(crate) async fn open(hub: &str) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        // With a PID namespace of its own, the whole browser ends when this process is killed.
        let mut driver = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["chromedriver", "--port=0", "--log-level=SEVERE"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("start chromedriver; scripts/setup.sh test installs it")?;
        let mut lines = BufReader::new(driver.stdout.take().context("its output")?).lines();
        let port = loop {
            let line = lines.next_line().await?.context("chromedriver ended")?;
            if let Some((_, port)) = line.rsplit_once("started successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        let options = json!({
            "unhandledPromptBehavior": "accept",
            "goog:chromeOptions": {
                "args": [
                    "--headless=new",
                    "--no-sandbox",
                    "--disable-dev-shm-usage",
                    "--disable-gpu",
                    "--hide-scrollbars",
                    "--force-color-profile=srgb",
                    format!("--user-data-dir={}", profile.path().display()),
                ],
            },
        });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(options.as_object().cloned().unwrap_or_default())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .context("start Chromium")?;
        let browser = Self {
            client,
            url: hub.to_owned(),
            _driver: driver,
            _profile: profile,
        };
        browser.look(WIDE, Theme::Light).await?;
        Ok(browser)
    }

    /// Sets the window's width and the preferred colour scheme.
    pub(crate) async fn look(&self, width: u32, theme: Theme) -> Result<()> {
        let height = if width < 600 { 844 } else { 900 };
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 }),
        )
        .await?;
        let scheme = match theme {
            Theme::Light => "light",
            Theme::Dark => "dark",
        };
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.devtools(
            "Emulation.setEmulatedMedia",
            json!({ "features": [feature] }),
        )
        .await?;
        Ok(())
    }

    /// Fails if the page is wider than the window. A phone then shows it at another scale, so the window's width says nothing.
    pub(crate) async fn fits(&self, width: u32) -> Result<()> {
        let wide = "return document.documentElement.scrollWidth";
        let wide = self.script(wide).await?;
        let path = self.path().await?;
        ensure!(
            wide.as_u64().is_some_and(|wide| wide <= u64::from(width)),
            "{path} takes {wide} pixels of {width}"
        );
        Ok(())
    }

    /// Loads a path of the hub.
    pub(crate) async fn go(&self, path: &str) -> Result<()> {
        Ok(self.client.goto(&format!("{}{path}", self.url)).await?)
    }

    /// The path of the current URL.
    pub(crate) async fn path(&self) -> Result<String> {
        let url = self.client.current_url().await?.to_string();
        Ok(url.strip_prefix(&self.url).unwrap_or(&url).to_owned())
    }

    /// The visible text of the page.
    pub(crate) async fn text(&self) -> Result<String> {
        Ok(self.find("body").await?.text().await?)
    }

    /// Waits for the first element that matches a CSS selector.
    pub(crate) async fn find(&self, css: &str) -> Result<Element> {
        let wait = self.client.wait().at_most(SOON);
        let found = wait.for_element(Locator::Css(css)).await;
        found.with_context(|| format!("no {css}"))
    }

    /// Finds a form by the end of its action, fills it in, and submits it.
    pub(crate) async fn submit(&self, action: &str, fields: &[(&str, &str)]) -> Result<()> {
        let form = format!("main form[action$='{action}']");
        // A form may be in a closed `<details>` element.
        self.find(&form).await?;
        self.script(
            "document.querySelectorAll('main details').forEach((part) => { part.open = true; })",
        )
        .await?;
        for (name, value) in fields {
            let field = self.find(&format!("{form} [name='{name}']")).await?;
            if field.tag_name().await? == "select" {
                field.select_by_value(value).await?;
            } else {
                field.clear().await?;
                field.send_keys(value).await?;
            }
        }
        let button = self.find(&format!("{form} button")).await?;
        self.leave_by(button).await
    }

    /// Clicks an element that leads to another page, and waits for that page.
    async fn leave_by(&self, element: Element) -> Result<()> {
        self.script("window.isOld = true").await?;
        element.click().await?;
        wait_for("the next page", SOON, async || {
            let script = "return !window.isOld && document.readyState === 'complete'";
            ensure!(self.script(script).await? == true, "the old one is there");
            Ok(())
        })
        .await
    }

    /// Fills in a field, by its name.
    pub(crate) async fn fill(&self, name: &str, text: &str) -> Result<()> {
        let field = self.find(&format!("main [name='{name}']")).await?;
        field.clear().await?;
        Ok(field.send_keys(text).await?)
    }

    /// Clicks a link or a button of the page's content, by its text, and waits for the next page.
    pub(crate) async fn click(&self, label: &str) -> Result<()> {
        let path = format!("//main//*[self::a or self::button][normalize-space()='{label}']");
        let wait = self.client.wait().at_most(SOON);
        let found = wait.for_element(Locator::XPath(&path)).await;
        self.leave_by(found.with_context(|| format!("nothing says {label}"))?)
            .await
    }

    /// Waits until the page contains some text.
    pub(crate) async fn until_says(&self, words: &str) -> Result<()> {
        wait_for(&format!("the page to say '{words}'"), SOON, async || {
            let text = self.text().await?;
            ensure!(text.contains(words), "it says:\n{text}");
            Ok(())
        })
        .await
    }

    /// Runs a script in the page, and returns its result.
    pub(crate) async fn script(&self, script: &str) -> Result<Value> {
        Ok(self.client.execute(script, Vec::new()).await?)
    }

    /// The serious violations of accessibility rules on this page, one per line.
    pub(crate) async fn barriers(&self) -> Result<Vec<String>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let axe =
            std::fs::read_to_string(root.join(AXE)).context("scripts/setup.sh test installs it")?;
        self.script(&axe).await?;
        let script = "const done = arguments[arguments.length - 1]; axe.run().then((found) => done(found.violations));";
        let found = self.client.execute_async(script, Vec::new()).await?;
        let violations = found.as_array().context("axe's answer")?;
        let serious = violations.iter().filter(|violation| {
            matches!(violation["impact"].as_str(), Some("serious" | "critical"))
        });
        Ok(serious
            .map(|violation| {
                let places = violation["nodes"].as_array().into_iter().flatten();
                let places: Vec<_> = places.map(|node| node["html"].to_string()).collect();
                format!("{}: {}", violation["help"], places.join(", "))
            })
            .collect())
    }

    /// A screenshot of the whole page, as WebP.
    pub(crate) async fn picture(&self) -> Result<Vec<u8>> {
        let height = self
            .script("return Math.min(document.documentElement.scrollHeight, 1600)")
            .await?;
        let width = self.script("return window.innerWidth").await?;
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let options =
            json!({ "format": "webp", "quality": 80, "captureBeyondViewport": true, "clip": clip });
        let answer = self.devtools("Page.captureScreenshot", options).await?;
        let data = answer["data"].as_str().context("no picture")?;
        Ok(STANDARD.decode(data)?)
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Result<Value> {
        let command = Devtools(json!({ "cmd": command, "params": parameters }));
        Ok(self.client.issue_cmd(command).await?)
    }
}

/// A Chromium DevTools command, which chromedriver forwards.
#[derive(Debug)]
struct Devtools(Value);

impl WebDriverCompatibleCommand for Devtools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        base.join(&format!(
            "session/{}/goog/cdp/execute",
            session.unwrap_or_default()
        ))
    }

    fn method_and_body(&self, _: &Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.0.to_string()))
    }
}
