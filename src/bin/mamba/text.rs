//! Text to tokens and back: by a model's tokenizer, or byte by byte.

use crate::guarded::guarded;
use crate::window::Window;
use anyhow::{Context, bail};
use mamba_kernels::model::read_file;
use std::path::Path;
use tokenizers::Tokenizer;

/// The most bytes that are read of a tokenizer.json: 128 MiB.
const TOKENIZER_LIMIT: u64 = 128 << 20;

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
            if let Some(bytes) = read_file(&path, TOKENIZER_LIMIT)? {
                return Self::parse(&bytes).with_context(|| format!("cannot read {}", path.display()));
            }
        }
        if vocab == 256 {
            return Ok(Self::Bytes);
        }
        let place = dir.map_or_else(|| "the model".into(), |dir| dir.display().to_string());
        bail!("{place} has no tokenizer.json, and its vocabulary of {vocab} tokens is not that of bytes, 256")
    }

    fn parse(json: &[u8]) -> anyhow::Result<Self> {
        guarded(|| {
            let mut tokenizer = Tokenizer::from_bytes(json)?;
            // The file may hold limits from training, which would cut a prompt or fill it up.
            tokenizer.with_padding(None);
            tokenizer.with_truncation(None)?;
            Ok(Self::Tokenizer(Box::new(tokenizer)))
        })
    }

    /// The tokens of a prompt.
    pub fn encode(&self, prompt: &[u8]) -> anyhow::Result<Vec<u32>> {
        match self {
            Self::Bytes => Ok(prompt.iter().map(|&byte| byte.into()).collect()),
            Self::Tokenizer(tokenizer) => {
                let text = std::str::from_utf8(prompt).context("the prompt is not UTF-8")?;
                let encoding = guarded(|| tokenizer.encode(text, true));
                Ok(encoding.context("cannot tokenize the prompt")?.get_ids().to_vec())
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
    /// Takes the tokens of a prompt and gives it back as text, apart from what later tokens may complete.
    pub fn prompt(&mut self, tokens: &[u32], prompt: &[u8]) -> anyhow::Result<String> {
        match self {
            Self::Bytes(_) => tokens.iter().map(|&token| self.push(token)).collect(),
            // The text as given: tokenizers change some texts, and special tokens have no text.
            Self::Tokenizer(window) => {
                window.skip(tokens)?;
                Ok(String::from_utf8_lossy(prompt).into_owned())
            }
        }
    }

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

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
