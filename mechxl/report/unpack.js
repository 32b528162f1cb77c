"use strict";
// Makes out the texts that `packed.py` deflated, then starts the scripts that wait for them, in the page's order. The
// page's policy has the hash of each script's text, so that nothing else can be started in this way.
(async function () {
  const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~"; // base 85, < as a comma
  const value = new Uint8Array(128);
  for (let at = 0; at < 85; at++) value[DIGITS.charCodeAt(at)] = at;
  function bytesOf(text, length) {
    const bytes = new Uint8Array(text.length / 5 * 4);
    for (let from = 0, to = 0; from < text.length; from += 5, to += 4) {
      let number = 0;
      for (let at = 0; at < 5; at++) number = number * 85 + value[text.charCodeAt(from + at)];
      for (let at = 3; at >= 0; at--) { bytes[to + at] = number & 255; number = Math.floor(number / 256); }
    }
    return bytes.subarray(0, length);
  }
  async function unpacked(script) {
    if (!script.dataset.packed) return;
    const bytes = bytesOf(script.textContent, Number(script.dataset.packed));
    script.textContent = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"))).text();
  }
  try {
    await Promise.all([...document.querySelectorAll("script[data-packed]")].map(unpacked));
  } catch (error) {
    const told = document.createElement("p");
    told.textContent = "This browser can't unpack the figures and tables of this page. Browsers since 2023 can.";
    document.querySelector("main").prepend(told);
    return;
  }
  for (const waiting of document.querySelectorAll("script[data-waits]")) {
    const script = document.createElement("script");
    script.textContent = waiting.textContent;
    waiting.replaceWith(script);
  }
})();
