"use strict";
// The model's forward pass, tokens and patches: pure functions over arrays of numbers. Blocks are numbered from 0, as in
// TransformerLens; layer l of the page is block l - 1. Matrices lie row by row; q, k, v and z are (position; head; d_head),
// a pattern is (head; query; key).
const mechxlModel = (function () {
  // ---- weights from text
  const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~"; // base 85, < as a comma
  function fromText(text) {
    const value = new Uint8Array(128), bytes = new Uint8Array(text.length / 5 * 4);
    for (let at = 0; at < 85; at++) value[DIGITS.charCodeAt(at)] = at;
    for (let from = 0, to = 0; from < text.length; from += 5, to += 4) {
      let number = 0;
      for (let at = 0; at < 5; at++) number = number * 85 + value[text.charCodeAt(from + at)];
      for (let at = 3; at >= 0; at--) { bytes[to + at] = number & 255; number = Math.floor(number / 256); }
    }
    return bytes;
  }
  async function inflated(bytes) {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }
  // One model a checkpoint. Each is a difference from the one before: low and high bytes of 0, -1, 1, -2, ... times a grid.
  async function decode(about, text) {
    const bytes = fromText(text), models = [];
    let start = 0, before = null;
    for (let at = 0; at < about.steps.length; at++) {
      const planes = [];
      for (const length of about.bytes[at]) { planes.push(await inflated(bytes.slice(start, start + length))); start += length; }
      const weights = {};
      let from = 0;
      about.tensors.forEach(function ([name, shape], tensor) {
        const size = shape.reduce((product, n) => product * n, 1), grid = about.grids[at][tensor], numbers = new Float32Array(size);
        for (let i = 0; i < size; i++) {
          const zigzag = planes[0][from + i] + 256 * planes[1][from + i];
          numbers[i] = (before ? before[name][i] : 0) + (zigzag & 1 ? -(zigzag + 1) / 2 : zigzag / 2) * grid;
        }
        weights[name] = numbers;
        from += size;
      });
      models.push(Object.assign({ step: about.steps[at], weights: weights, vocabulary: about.tokenizer.pieces.length }, about));
      before = weights;
    }
    return models;
  }

  // ---- words to tokens, as the run's tokenizer cuts them
  function byteLetters() { // the letter that stands for each byte, as in GPT-2
    const letters = [];
    for (let byte = 0, other = 256; byte < 256; byte++) {
      const plain = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
      letters.push(String.fromCharCode(plain ? byte : other++));
    }
    return letters;
  }
  function tokenizerOf(about) {
    const numbers = new Map(about.pieces.map((piece, number) => [piece, number])), mark = about.continues;
    for (let number = 0; number < about.special; number++) numbers.delete(about.pieces[number]);
    const ranks = about.merges && new Map(about.merges.map((pair, rank) => [pair.join(" "), rank])), letters = byteLetters();
    function longestFirst(word) {
      const symbols = [...word], found = [];
      for (let start = 0; start < symbols.length;) {
        let end = symbols.length, number;
        while (end > start && (number = numbers.get((start ? mark : "") + symbols.slice(start, end).join(""))) === undefined) end--;
        if (end === start) return null;
        found.push(number);
        start = end;
      }
      return found;
    }
    function merged(word) {
      let parts = [...word].map((symbol, at) => (at ? mark : "") + symbol);
      for (;;) {
        let best = Infinity, at = -1;
        for (let i = 0; i + 1 < parts.length; i++) {
          const rank = ranks.get(`${parts[i]} ${parts[i + 1]}`);
          if (rank < best) { best = rank; at = i; }
        }
        if (at < 0) break;
        const joined = parts[at] + parts[at + 1].slice(mark.length), pair = [parts[at], parts[at + 1]];
        const next = [];
        for (let i = 0; i < parts.length; i++) {
          if (parts[i] === pair[0] && parts[i + 1] === pair[1]) { next.push(joined); i++; } else next.push(parts[i]);
        }
        parts = next;
      }
      const found = parts.map((part) => numbers.get(part));
      return found.includes(undefined) ? null : found;
    }
    const known = about.parts && new Map(about.parts.map(([part, ids]) => [part, ids])); // as a ready tokenizer cuts them
    function part(one) {
      if (known) return known.get(one) || null;
      const spelled = about.bytes ? [...new TextEncoder().encode(one)].map((byte) => letters[byte]).join("") : one;
      return ranks ? merged(spelled) : longestFirst(spelled);
    }
    // The tokens of a word, which may hold spaces; null: it has letters or pieces that the model has never seen.
    return function (word) {
      const cut = word.split(" ").filter((one) => one !== "").map(part);
      return cut.includes(null) ? null : cut.flat();
    };
  }

  // ---- the forward pass
  function erf(x) { // Abramowitz and Stegun 7.1.26: within 1.5e-7
    const t = 1 / (1 + 0.3275911 * Math.abs(x));
    const y = 1 - ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t * Math.exp(-x * x);
    return x < 0 ? -y : y;
  }
  const ACTIVATIONS = { gelu: (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)), relu: (x) => Math.max(x, 0) };
  function normalized(model, name, x, from, d) { // LayerNorm; RMSNorm if the norm has no bias
    const w = model.weights[`${name}.w`], b = model.weights[`${name}.b`], out = new Float64Array(d);
    let mean = 0, square = 0;
    if (b) { for (let i = 0; i < d; i++) mean += x[from + i]; mean /= d; }
    for (let i = 0; i < d; i++) square += (x[from + i] - mean) ** 2;
    const scale = 1 / Math.sqrt(square / d + model.eps);
    for (let i = 0; i < d; i++) out[i] = (x[from + i] - mean) * scale * w[i] + (b ? b[i] : 0);
    return out;
  }
  function addProduct(out, to, x, from, rows, matrix, start, columns) { // out[to ...] += x[from ...] matrix
    for (let i = 0; i < rows; i++) {
      const xi = x[from + i], row = start + i * columns;
      if (xi !== 0) for (let j = 0; j < columns; j++) out[to + j] += xi * matrix[row + j];
    }
  }
  function unembedded(model, resid, from) {
    const x = normalized(model, "ln_final", resid, from, model.width), logits = Float64Array.from(model.weights["unembed.b_U"]);
    addProduct(logits, 0, x, 0, model.width, model.weights["unembed.W_U"], 0, logits.length);
    return logits;
  }

  // What a run keeps of earlier positions: keys and values of each block, with room for the whole context.
  function emptyPast(model) {
    const room = () => Array.from({ length: model.layers }, () => new Float64Array(model.context * model.width));
    return { length: 0, k: room(), v: room() };
  }
  function copied(past, length) {
    return { length: length, k: past.k.map((one) => one.slice()), v: past.v.map((one) => one.slice()) };
  }
  function embedded(model, tokens, start) {
    const d = model.width, resid = new Float64Array(tokens.length * d);
    tokens.forEach(function (token, at) {
      for (let i = 0; i < d; i++) resid[at * d + i] = model.weights["embed.W_E"][token * d + i] + model.weights["pos_embed.W_pos"][(start + at) * d + i];
    });
    return resid;
  }
  // The stream after the last block, from the stream that block `first` reads at the positions after the past's, which
  // then holds these too. `visit` gets every component's name, block, content, first position, and may change the content.
  function blocksFrom(model, resid, first, past, visit) {
    const d = model.width, heads = model.heads, dHead = d / heads, n = resid.length / d, start = past.length, all = start + n;
    for (let block = first; block < model.layers; block++) {
      const w = (name) => model.weights[`blocks.${block}.${name}`], [k, v] = [past.k[block], past.v[block]];
      visit("resid_pre", block, resid, start);
      const q = new Float64Array(n * d);
      for (let at = 0; at < n; at++) {
        const x = normalized(model, `blocks.${block}.ln1`, resid, at * d, d);
        [[q, at * d, "Q"], [k, (start + at) * d, "K"], [v, (start + at) * d, "V"]].forEach(function ([out, to, part]) {
          const bias = w(`attn.b_${part}`), matrix = w(`attn.W_${part}`);
          for (let i = 0; i < d; i++) out[to + i] = bias[i];
          for (let head = 0; head < heads; head++) addProduct(out, to + head * dHead, x, 0, d, matrix, head * d * dHead, dHead);
        });
      }
      visit("q", block, q, start);
      visit("k", block, k, 0);
      visit("v", block, v, 0);
      const pattern = new Float64Array(heads * n * all);
      for (let head = 0; head < heads; head++) for (let at = 0; at < n; at++) {
        const row = (head * n + at) * all;
        let largest = -Infinity, sum = 0;
        for (let key = 0; key <= start + at; key++) {
          let score = 0;
          for (let i = 0; i < dHead; i++) score += q[at * d + head * dHead + i] * k[key * d + head * dHead + i];
          pattern[row + key] = score / Math.sqrt(dHead);
          largest = Math.max(largest, pattern[row + key]);
        }
        for (let key = 0; key <= start + at; key++) sum += pattern[row + key] = Math.exp(pattern[row + key] - largest);
        for (let key = 0; key <= start + at; key++) pattern[row + key] /= sum;
      }
      visit("pattern", block, pattern, start);
      const z = new Float64Array(n * d);
      for (let head = 0; head < heads; head++) for (let at = 0; at < n; at++) for (let key = 0; key <= start + at; key++) {
        const weight = pattern[(head * n + at) * all + key];
        for (let i = 0; i < dHead; i++) z[at * d + head * dHead + i] += weight * v[key * d + head * dHead + i];
      }
      visit("z", block, z, start);
      const attnOut = new Float64Array(n * d), mlpOut = new Float64Array(n * d), mid = new Float64Array(n * d), post = new Float64Array(n * d);
      for (let at = 0; at < n; at++) {
        attnOut.set(w("attn.b_O"), at * d);
        addProduct(attnOut, at * d, z, at * d, d, w("attn.W_O"), 0, d); // rows of W_O are (head; d_head)
      }
      visit("attn_out", block, attnOut, start);
      for (let i = 0; i < n * d; i++) mid[i] = resid[i] + attnOut[i];
      visit("resid_mid", block, mid, start);
      const act = ACTIVATIONS[model.activation];
      for (let at = 0; at < n; at++) {
        const hidden = Float64Array.from(w("mlp.b_in"));
        addProduct(hidden, 0, normalized(model, `blocks.${block}.ln2`, mid, at * d, d), 0, d, w("mlp.W_in"), 0, model.hidden);
        for (let i = 0; i < model.hidden; i++) hidden[i] = act(hidden[i]);
        mlpOut.set(w("mlp.b_out"), at * d);
        addProduct(mlpOut, at * d, hidden, 0, model.hidden, w("mlp.W_out"), 0, d);
      }
      visit("mlp_out", block, mlpOut, start);
      for (let i = 0; i < n * d; i++) post[i] = mid[i] + mlpOut[i];
      visit("resid_post", block, post, start);
      resid = post;
    }
    past.length = all;
    return resid;
  }
  const nothing = () => undefined;
  // A run of a prompt: the logits that follow it, what it keeps for further tokens, and every component's content.
  function run(model, tokens) {
    const past = emptyPast(model), kept = {};
    const keep = (component, block, content) => { kept[`${component} ${block}`] = content; };
    const resid = blocksFrom(model, embedded(model, tokens, 0), 0, past, keep);
    return { tokens: tokens, past: past, kept: kept, logits: unembedded(model, resid, resid.length - model.width) };
  }
  function extended(model, past, token) { // logits after one more token; rows of the past beyond its length are overwritten
    return unembedded(model, blocksFrom(model, embedded(model, [token], past.length), 0, past, nothing), 0);
  }

  // ---- patches
  const BY_HEAD = ["q", "k", "v", "z", "pattern"], KEYS = ["k", "v"];
  // Writes a donor's component at one position over the receiver's. place: {component, block, head (null: all), donor, receiver}.
  function put(model, place, donor, content, start) {
    const d = model.width, dHead = d / model.heads, at = place.receiver - start, source = donor.kept[`${place.component} ${place.block}`];
    if (place.component === "pattern") { // both prompts have one length
      const keys = donor.tokens.length, rows = content.length / model.heads / keys;
      for (let head = 0; head < model.heads; head++) if (place.head === null || place.head === head) {
        for (let key = 0; key < keys; key++) content[(head * rows + at) * keys + key] = source[(head * keys + place.donor) * keys + key];
      }
      return;
    }
    const [first, size] = place.head === null || !BY_HEAD.includes(place.component) ? [0, d] : [place.head * dHead, dHead];
    for (let i = 0; i < size; i++) content[at * d + first + i] = source[place.donor * d + first + i];
  }
  // The receiver's run with a patch. It restarts at the patched block and position, since nothing before them changes.
  function patched(model, receiver, donor, place) {
    const d = model.width, start = place.receiver, past = copied(receiver.past, start);
    const visit = function (component, block, content, from) {
      if (component === place.component && block === place.block) put(model, place, donor, content, from);
    };
    const resid = blocksFrom(model, receiver.kept[`resid_pre ${place.block}`].slice(start * d), place.block, past, visit);
    return { tokens: receiver.tokens, past: past, logits: unembedded(model, resid, resid.length - d) };
  }

  // ---- answers
  function softmax(logits) {
    let largest = -Infinity, sum = 0;
    for (const x of logits) largest = Math.max(largest, x);
    const p = logits.map((x) => Math.exp(x - largest));
    for (const x of p) sum += x;
    return p.map((x) => x / sum);
  }
  const largestAt = (numbers) => numbers.reduce((best, x, at) => x > numbers[best] ? at : best, 0);
  function trieOf(answers) { // answers: Map of word -> tokens
    const root = { next: new Map(), word: null };
    answers.forEach(function (tokens, word) {
      let node = root;
      for (const token of tokens) {
        if (!node.next.has(token)) node.next.set(token, { next: new Map(), word: null });
        node = node.next.get(token);
      }
      node.word = word;
    });
    return root;
  }
  // The probability of each answer after a run, and the word that greedy decoding gives (null: no value word). Beginnings
  // less likely than `least` are not followed, except those of the words in `always`; what is left is `rest`.
  function answers(model, ran, trie, always, least) {
    const found = new Map(), past = ran.past, length = past.length;
    const leads = (node) => (node.word !== null && always.has(node.word)) || [...node.next.values()].some(leads);
    let greedy = null, followed = 0;
    function follow(node, logits, p, isGreedy, depth) {
      const share = softmax(logits), best = isGreedy ? largestAt(logits) : -1;
      node.next.forEach(function (child, token) {
        const here = p * share[token], wins = token === best;
        if (child.word !== null) { found.set(child.word, here); followed += here; if (wins) greedy = child.word; }
        if (child.next.size && (wins || here >= least || leads(child))) {
          past.length = length + depth;
          follow(child, extended(model, past, token), here, wins, depth + 1);
        }
      });
    }
    follow(trie, ran.logits, 1, true, 0);
    past.length = length;
    return { words: found, rest: Math.max(0, 1 - followed), greedy: greedy };
  }
  return { decode, tokenizerOf, run, patched, answers, trieOf, unembedded, softmax, largestAt, BY_HEAD, KEYS };
})();
