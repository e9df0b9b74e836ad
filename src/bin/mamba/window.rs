//! [`Window`]: text by a tokenizer, token by token.

use crate::guarded::guarded;
use std::collections::VecDeque;
use tokenizers::Tokenizer;

/// Text by a tokenizer token by token. What a token adds depends on those before (a space, the bytes of a character),
/// so each text is the difference of two decoded windows.
///
/// All pieces together are what the tokenizer makes of all tokens at once, if that only grows at its end. It does not
/// where bytes are no character: a run of single bytes is then given out character by character, with U+FFFD for the
/// others.
pub struct Window<'a> {
    tokenizer: &'a Tokenizer,
    /// The last tokens whose text was given out, then those held back.
    tokens: Vec<u32>,
    /// How many of them were given out at once, the oldest first.
    pieces: VecDeque<usize>,
    /// The sum of `pieces`.
    given: usize,
}

impl<'a> Window<'a> {
    /// More tokens than one character has bytes: by then, an end that is no character has become part of the text.
    const HELD_BACK: usize = 8;
    /// Tokens before new ones that decoders see at least. They treat the first one, or the first characters, in another
    /// way than later ones.
    const CONTEXT: usize = 16;
    /// Tokens of a prompt that are decoded at least.
    const PROMPT: usize = 64;

    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, tokens: Vec::new(), pieces: VecDeque::new(), given: 0 }
    }

    /// Takes tokens whose text is known.
    pub fn skip(&mut self, tokens: &[u32]) -> anyhow::Result<()> {
        // A window starts between characters: not inside a run of single bytes.
        let is_byte = |&token: &u32| {
            let token = self.tokenizer.id_to_token(token);
            token.is_some_and(|token| token.starts_with("<0x"))
        };
        let tokens: Vec<u32> = tokens.iter().copied().filter(|&token| self.has_text(token)).collect();
        let mut start = tokens.len().saturating_sub(Self::PROMPT);
        while start > 0 && is_byte(&tokens[start]) {
            start -= 1;
        }
        for &token in &tokens[start..] {
            self.push(token)?;
        }
        self.give();
        Ok(())
    }

    /// The text that this token completes.
    pub fn push(&mut self, token: u32) -> anyhow::Result<String> {
        if !self.has_text(token) {
            return Ok(String::new());
        }
        self.tokens.push(token);
        let all = self.decode(&self.tokens)?;
        let whole = !all.ends_with(char::REPLACEMENT_CHARACTER);
        match whole || self.tokens.len() - self.given >= Self::HELD_BACK {
            true => self.added(&all),
            false => Ok(String::new()),
        }
    }

    /// The text that was held back.
    pub fn flush(&mut self) -> anyhow::Result<String> {
        let all = self.decode(&self.tokens)?;
        self.added(&all)
    }

    /// What the tokens that were held back add to `all`, the text of the window.
    fn added(&mut self, all: &str) -> anyhow::Result<String> {
        let before = self.decode(&self.tokens[..self.given])?;
        let text = match all.strip_prefix(&before) {
            Some(text) => text.to_string(),
            None => self.decode(&self.tokens[self.given..])?,
        };
        self.give();
        Ok(text)
    }

    /// Counts all tokens as given out, and forgets the oldest that are more than enough.
    fn give(&mut self) {
        self.pieces.push_back(self.tokens.len() - self.given);
        self.given = self.tokens.len();
        while let Some(&oldest) = self.pieces.front()
            && self.given - oldest >= Self::CONTEXT
        {
            self.tokens.drain(..oldest);
            self.given -= oldest;
            self.pieces.pop_front();
        }
    }

    /// Whether decoders see the token: it is one of the tokenizer's, and not a special one.
    fn has_text(&self, token: u32) -> bool {
        let special = |token: &String| self.tokenizer.get_added_vocabulary().is_special_token(token);
        self.tokenizer.id_to_token(token).is_some_and(|token| !special(&token))
    }

    fn decode(&self, tokens: &[u32]) -> anyhow::Result<String> {
        if tokens.is_empty() {
            return Ok(String::new()); // one of the decoders panics
        }
        let text = guarded(|| self.tokenizer.decode(tokens, true));
        text.map_err(|error| error.context("cannot decode the tokens"))
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
