//! YAML as a tree that knows where everything stands. Size, depth and what aliases multiply are bounded, so that no
//! input costs more than a few megabytes or deep recursion; everything after this may recurse over the tree.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

use super::finding::Place;

/// Largest manifest in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting; the schema needs 8.
const MAX_DEPTH: usize = 32;
/// Text and nodes after aliases are expanded: a node costs 16 and its bytes.
const MAX_WEIGHT: usize = 8 << 20;
/// Faults per file; more of them help nobody.
const MAX_FAULTS: usize = 50;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Node,
}

#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Its type is read off the text.
    Plain,
    /// Text, whatever it looks like.
    Quoted,
    /// Text in lines of its own (`|`), which keep their columns but for the indentation.
    Literal,
    /// From an override: of the type that is wanted there.
    Given,
}

impl Node {
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.content {
            Content::Mapping(entries) => entries.iter().find(|entry| entry.key == key),
            Content::Scalar(_) | Content::Sequence(_) => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(scalar) => Some(&scalar.text),
            Content::Sequence(_) | Content::Mapping(_) => None,
        }
    }

    fn weight(&self) -> usize {
        let inner: usize = match &self.content {
            Content::Scalar(scalar) => scalar.text.len(),
            Content::Sequence(items) => items.iter().map(Node::weight).sum(),
            Content::Mapping(entries) => entries.iter().map(|entry| entry.key.len() + entry.value.weight()).sum(),
        };
        16 + inner
    }

    fn height(&self) -> usize {
        1 + match &self.content {
            Content::Scalar(_) => 0,
            Content::Sequence(items) => items.iter().map(Node::height).max().unwrap_or(0),
            Content::Mapping(entries) => entries.iter().map(|entry| entry.value.height()).max().unwrap_or(0),
        }
    }
}

/// What is wrong with the YAML itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) place: Place,
    pub(super) message: String,
    pub(super) fix: Option<String>,
}

/// All documents of a text, or everything that is wrong with them (the first syntax error ends the reading).
pub(super) fn parse(text: &str, set_by: Option<usize>) -> Result<Vec<Node>, Vec<Broken>> {
    let mut builder = Builder { set_by, ..Builder::default() };
    if text.len() > MAX_BYTES {
        builder.fault(Marker::new(0, 1, 0), format!("the manifest is larger than {MAX_BYTES} bytes"), None);
        return Err(builder.faults);
    }
    let mut parser = Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    while let Some(event) = parser.next_event() {
        let taken = match event {
            Ok((Event::StreamEnd, _)) => break,
            Ok((event, span)) => builder.take(event, span),
            Err(error) => {
                builder.fault(*error.marker(), format!("this is not YAML: {}", error.info()), None);
                Err(Stop)
            }
        };
        if taken.is_err() || builder.faults.len() >= MAX_FAULTS {
            break;
        }
    }
    if builder.faults.is_empty() { Ok(builder.documents) } else { Err(builder.faults) }
}

/// Reading cannot go on; the reason is in the faults.
struct Stop;

#[derive(Default)]
struct Builder {
    set_by: Option<usize>,
    stack: Vec<Frame>,
    documents: Vec<Node>,
    anchors: HashMap<usize, Node>,
    weight: usize,
    faults: Vec<Broken>,
}

struct Frame {
    place: Place,
    anchor: usize,
    open: Open,
}

enum Open {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<Entry>, seen: HashMap<String, Place>, key: Key },
}

/// Where a mapping is between its keys and values.
#[derive(Default)]
enum Key {
    #[default]
    Awaited,
    Read(String, Place),
    /// It was a list or mapping: its value is passed over.
    Refused,
}

impl Builder {
    fn place(&self, marker: Marker) -> Place {
        Place { line: marker.line().max(1), column: marker.col() + 1, set_by: self.set_by }
    }

    fn fault(&mut self, marker: Marker, message: String, fix: Option<&str>) {
        let place = self.place(marker);
        self.faults.push(Broken { place, message, fix: fix.map(str::to_owned) });
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        let place = self.place(span.start);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, span.start),
            Event::Scalar(text, style, anchor, tag) => {
                let style = self.style(style, tag.as_deref(), span.start);
                let scalar = Scalar { text: text.into_owned(), style };
                self.finish(Node { place, content: Content::Scalar(scalar) }, anchor, span.start)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span.start);
                self.open(Frame { place, anchor, open: Open::Sequence(Vec::new()) }, span.start)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span.start);
                let open = Open::Mapping { entries: Vec::new(), seen: HashMap::new(), key: Key::Awaited };
                self.open(Frame { place, anchor, open }, span.start)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(frame) = self.stack.pop() else { return Ok(()) };
                let content = match frame.open {
                    Open::Sequence(items) => Content::Sequence(items),
                    Open::Mapping { entries, .. } => Content::Mapping(entries),
                };
                self.finish(Node { place: frame.place, content }, frame.anchor, span.start)
            }
        }
    }

    fn open(&mut self, frame: Frame, at: Marker) -> Result<(), Stop> {
        self.stack.push(frame);
        self.limit_depth(0, at)
    }

    fn limit_depth(&mut self, height: usize, at: Marker) -> Result<(), Stop> {
        if self.stack.len() + height <= MAX_DEPTH {
            return Ok(());
        }
        self.fault(at, format!("this is nested deeper than {MAX_DEPTH} levels"), None);
        Err(Stop)
    }

    fn spend(&mut self, weight: usize, at: Marker) -> Result<(), Stop> {
        self.weight += weight;
        if self.weight <= MAX_WEIGHT {
            return Ok(());
        }
        self.fault(at, "aliases expand to too much".to_owned(), Some("write the values out"));
        Err(Stop)
    }

    fn alias(&mut self, anchor: usize, at: Marker) -> Result<(), Stop> {
        let Some(target) = self.anchors.get(&anchor) else {
            self.fault(at, "this alias names an anchor that is not finished".to_owned(), Some("write the value out"));
            return Err(Stop);
        };
        let (weight, height) = (target.weight(), target.height());
        self.limit_depth(height, at)?;
        self.spend(weight, at)?;
        let copy = self.anchors.get(&anchor).map(|target| target.content.clone());
        let place = self.place(at);
        copy.map_or(Ok(()), |content| self.finish(Node { place, content }, 0, at))
    }

    fn style(&mut self, style: ScalarStyle, tag: Option<&Tag>, at: Marker) -> Style {
        let text_tag = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
        if !text_tag {
            self.refuse_tag(tag, at);
        }
        match style {
            ScalarStyle::Plain if text_tag => Style::Quoted,
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::Literal => Style::Literal,
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted | ScalarStyle::Folded => Style::Quoted,
        }
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, at: Marker) {
        if let Some(tag) = tag {
            let shown: String = format!("{}{}", tag.handle, tag.suffix).chars().take(60).collect();
            self.fault(at, format!("tag `{shown}` is not supported"), Some("remove it; types follow from the field"));
        }
    }

    /// Puts a finished node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize, at: Marker) -> Result<(), Stop> {
        self.spend(16 + node.text().map_or(0, str::len), at)?;
        if anchor != 0 {
            self.spend(node.weight(), at)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(frame) = self.stack.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        let Open::Mapping { entries, seen, key } = &mut frame.open else {
            if let Open::Sequence(items) = &mut frame.open {
                items.push(node);
            }
            return Ok(());
        };
        match (std::mem::take(key), node.text()) {
            (Key::Read(key, place), _) => entries.push(Entry { key, place, value: node }),
            (Key::Refused, _) => {}
            (Key::Awaited, Some(name)) => {
                let before = seen.insert(name.to_owned(), node.place);
                *key = Key::Read(name.to_owned(), node.place);
                self.judge_key(name, node.place, before);
            }
            (Key::Awaited, None) => {
                *key = Key::Refused;
                self.fault(at, "a list or mapping cannot be the name of a field".to_owned(), None);
            }
        }
        Ok(())
    }

    fn judge_key(&mut self, name: &str, place: Place, before: Option<Place>) {
        let shown: String = name.chars().take(60).collect();
        let (message, fix) = match before {
            Some(first) => {
                (format!("field `{shown}` stands twice, first in line {}", first.line), "remove one of them")
            }
            None if name == "<<" => ("merge keys are not supported".to_owned(), "write the fields out"),
            None => return,
        };
        self.faults.push(Broken { place, message, fix: Some(fix.to_owned()) });
    }
}
