//! Text to tokens and back: by a model's tokenizer, or byte by byte.

use anyhow::{Context, anyhow, bail};
use std::path::Path;
use tokenizers::Tokenizer;

/// How a model's tokens stand for text.
pub enum Codec {
    /// Token i is byte i.
    Bytes,
    /// The tokenizer.json next to the weights.
    Tokenizer(Box<Tokenizer>),
}

impl Codec {
    /// The codec of the model in `dir`, or of bytes if there is no directory.
    pub fn open(dir: Option<&Path>, vocab: usize) -> anyhow::Result<Self> {
        if let Some(dir) = dir {
            let path = dir.join("tokenizer.json");
            if path.try_exists().with_context(|| format!("cannot read {}", path.display()))? {
                return Self::read(&path).map_err(|error| anyhow!("cannot read {}: {error}", path.display()));
            }
        }
        if vocab == 256 {
            return Ok(Self::Bytes);
        }
        let place = dir.map_or_else(|| "the model".into(), |dir| dir.display().to_string());
        bail!("{place} has no tokenizer.json, and its vocabulary of {vocab} tokens is not that of bytes, 256")
    }

    fn read(tokenizer: &Path) -> tokenizers::Result<Self> {
        let mut tokenizer = Tokenizer::from_file(tokenizer)?;
        // The file may hold limits from training, which would cut a prompt or fill it up.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None)?;
        Ok(Self::Tokenizer(Box::new(tokenizer)))
    }

    /// The tokens of a prompt.
    pub fn encode(&self, prompt: &[u8]) -> anyhow::Result<Vec<u32>> {
        match self {
            Self::Bytes => Ok(prompt.iter().map(|&byte| byte.into()).collect()),
            Self::Tokenizer(tokenizer) => {
                let text = std::str::from_utf8(prompt).context("the prompt is not UTF-8")?;
                let encoding = tokenizer.encode(text, true);
                let encoding = encoding.map_err(|error| anyhow!("cannot tokenize the prompt: {error}"))?;
                Ok(encoding.get_ids().to_vec())
            }
        }
    }

    /// The token that an empty prompt starts from: a newline, or the first that ends texts.
    pub fn first_token(&self, eos_token_ids: &[u32]) -> anyhow::Result<u32> {
        match self {
            Self::Bytes => Ok(b'\n'.into()),
            Self::Tokenizer(_) => self
                .ends_of_text(eos_token_ids)
                .first()
                .copied()
                .context("the prompt is empty, and the model names no token to start from (eos_token_id)"),
        }
    }

    /// The tokens that end a text: the model's, or what tokenizers call the end of a text.
    pub fn ends_of_text(&self, eos_token_ids: &[u32]) -> Vec<u32> {
        match self {
            Self::Tokenizer(tokenizer) if eos_token_ids.is_empty() => {
                tokenizer.token_to_id("<|endoftext|>").into_iter().collect()
            }
            _ => eos_token_ids.to_vec(),
        }
    }

    /// A decoder for tokens that come one by one.
    pub fn decoder(&self) -> Decoder<'_> {
        match self {
            Self::Bytes => Decoder::Bytes(Utf8::default()),
            Self::Tokenizer(tokenizer) => Decoder::Tokenizer(Window::new(tokenizer)),
        }
    }
}

/// Makes text of tokens as they come, and holds back what is not yet a whole character.
pub enum Decoder<'a> {
    Bytes(Utf8),
    Tokenizer(Window<'a>),
}

impl Decoder<'_> {
    /// The text that this token completes.
    pub fn push(&mut self, token: u32) -> anyhow::Result<String> {
        match self {
            // A token above 255 is no byte, so 0xFF stands for it, which is never valid UTF-8.
            Self::Bytes(utf8) => Ok(utf8.push(u8::try_from(token).unwrap_or(0xff))),
            Self::Tokenizer(window) => window.push(token),
        }
    }

    /// What was held back, at the end of the text.
    pub fn finish(&mut self) -> anyhow::Result<String> {
        match self {
            Self::Bytes(utf8) => Ok(utf8.finish()),
            Self::Tokenizer(window) => window.flush(),
        }
    }
}

/// UTF-8 byte by byte: U+FFFD for what is invalid, as [`String::from_utf8_lossy`] has it.
#[derive(Default)]
pub struct Utf8 {
    pending: Vec<u8>,
}

impl Utf8 {
    fn push(&mut self, byte: u8) -> String {
        self.pending.push(byte);
        let mut text = String::new();
        let mut incomplete = Vec::new();
        let mut chunks = self.pending.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            // At the end, an error without a length is a character that more bytes may complete.
            match std::str::from_utf8(chunk.invalid()) {
                Ok(_) => {}
                Err(error) if error.error_len().is_none() && chunks.peek().is_none() => {
                    incomplete = chunk.invalid().to_vec();
                }
                Err(_) => text.push(char::REPLACEMENT_CHARACTER),
            }
        }
        self.pending = incomplete;
        text
    }

    fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

/// Text by a tokenizer token by token. What a token adds depends on the one before (a space, the bytes of a
/// character), so each text is the difference of two decoded windows.
pub struct Window<'a> {
    tokenizer: &'a Tokenizer,
    /// The tokens of the text given out last, then those held back.
    tokens: Vec<u32>,
    /// How many of them are the former.
    given: usize,
}

impl<'a> Window<'a> {
    /// More tokens than one character has bytes: by then, an end that is no character has become part of the text.
    const HELD_BACK: usize = 8;

    fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, tokens: Vec::new(), given: 0 }
    }

    fn push(&mut self, token: u32) -> anyhow::Result<String> {
        self.tokens.push(token);
        let whole = !self.decode(&self.tokens)?.ends_with(char::REPLACEMENT_CHARACTER);
        if whole || self.tokens.len() - self.given >= Self::HELD_BACK {
            self.flush()
        } else {
            Ok(String::new())
        }
    }

    fn flush(&mut self) -> anyhow::Result<String> {
        let before = self.decode(&self.tokens[..self.given])?;
        let all = self.decode(&self.tokens)?;
        let text = match all.strip_prefix(&before) {
            Some(text) => text.to_string(),
            None => self.decode(&self.tokens[self.given..])?,
        };
        // If the new tokens gave no text, as special tokens do, the window keeps the earlier ones.
        if text.is_empty() {
            self.tokens.truncate(self.given);
        } else {
            self.tokens.drain(..self.given);
        }
        self.given = self.tokens.len();
        Ok(text)
    }

    fn decode(&self, tokens: &[u32]) -> anyhow::Result<String> {
        self.tokenizer.decode(tokens, true).map_err(|error| anyhow!("cannot decode the tokens: {error}"))
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
