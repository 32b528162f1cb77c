"use strict";
function mechxlLook(panel) { // inside the model: the logit lens, attention, and the nearest facts
  const { about, at, element, word, heated, probability, headed, pieces } = panel;
  const NEAREST = 8, vectors = new Map(); // step -> vectors of the compared facts
  const streams = [["the embeddings (layer 0)", "resid_pre", 0]];
  for (let block = 0; block < about.layers; block++) {
    streams.push([`attention of layer ${block + 1}`, "resid_mid", block], [`layer ${block + 1}`, "resid_post", block]);
  }
  const layers = streams.filter(([, component]) => component !== "resid_mid");
  at("layer").append(...panel.options(layers.map(([name]) => name)));
  at("layer").value = String(layers.length - 1);
  at("layer").addEventListener("change", () => panel.asked() && tellNearest(panel.asked()));

  function tokenHeads(ids) { return pieces(ids).map((piece) => element("th", word(piece), { scope: "col", className: "token", title: piece })); }
  function tellLens({ read, found }) {
    const model = panel.model(), q = panel.question(), d = about.width;
    const target = q && panel.rightWord(q, q.language) !== null ? panel.rightWord(q, q.language) : found.greedy;
    const wanted = target === null ? -1 : panel.answerTokens(target)[0];
    const rows = streams.map(function ([name, component, block]) {
      const cells = read.ids.map(function (_, place) {
        const shares = mechxlModel.softmax(mechxlModel.unembedded(model, found.ran.kept[`${component} ${block}`], place * d));
        const best = mechxlModel.largestAt(shares), p = wanted < 0 ? 0 : shares[wanted];
        const [piece] = pieces([best]), cell = heated(element("td", word(piece)), p);
        cell.title = `likeliest token: ${piece} (${probability(shares[best])}); first token of ${target}: ${probability(p)}`;
        if (place === read.ids.length - 1) cell.append(` ${probability(p)}`);
        return cell;
      });
      return element("tr", [element("th", `after ${name}`, { scope: "row" }), ...cells]);
    });
    const head = element("tr", [element("td", ""), ...tokenHeads(read.ids)]);
    at("lens").replaceChildren(element("thead", head), element("tbody", rows));
  }
  function tellHeads({ read, found }) {
    const n = read.ids.length, tables = [];
    for (let block = 0; block < about.layers; block++) for (let head = 0; head < about.heads; head++) {
      const pattern = found.ran.kept[`pattern ${block}`], names = pieces(read.ids);
      const rows = names.map(function (name, from) {
        const cells = names.map(function (to, key) {
          if (key > from) return element("td", "");
          const weight = pattern[(head * n + from) * n + key], cell = heated(element("td", n <= 10 ? weight.toFixed(2).replace("0.", ".") : ""), weight);
          cell.title = `${name} looks at ${to}: ${weight.toFixed(2)}`;
          return cell;
        });
        return element("tr", [element("th", word(name), { scope: "row", className: "token", title: name }), ...cells]);
      });
      const table = element("table", [element("caption", `L${block}H${head} (layer ${block + 1})`), element("thead", element("tr", [element("td", ""), ...tokenHeads(read.ids)])), element("tbody", rows)]);
      const box = element("div", table, { className: "scroll", tabIndex: 0 });
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", `Attention of L${block}H${head}`);
      tables.push(box);
    }
    at("heads").replaceChildren(...tables);
  }

  // ---- the stream at the prompt's last token, against that of a sample of facts in every language
  function atLast(ran) {
    return layers.map(([, component, block]) => ran.kept[`${component} ${block}`].slice(-about.width));
  }
  function compared() {
    const model = panel.model();
    if (vectors.has(model.step)) return vectors.get(model.step);
    const rows = about.compared.flatMap((fact) => about.languages.map(function (_, language) {
      const q = panel.questionOf(fact, language), read = panel.prompt(panel.sentence(q));
      return { q, layers: atLast(mechxlModel.run(model, read.ids)) };
    }));
    const means = layers.map(function (_, layer) {
      const mean = new Float64Array(about.width);
      rows.forEach((row) => row.layers[layer].forEach((x, i) => { mean[i] += x / rows.length; }));
      return mean;
    });
    vectors.set(model.step, { rows, means });
    return vectors.get(model.step);
  }
  function cosine(a, b, mean) {
    let dot = 0, aa = 0, bb = 0;
    for (let i = 0; i < mean.length; i++) { const x = a[i] - mean[i], y = b[i] - mean[i]; dot += x * y; aa += x * x; bb += y * y; }
    return dot / Math.sqrt(aa * bb || 1);
  }
  function tellNearest({ found }) {
    const layer = Number(at("layer").value), q = panel.question(), own = atLast(found.ran)[layer], all = compared();
    const isSelf = (other) => q && panel.factOf(other) === panel.factOf(q) && other.language === q.language;
    const others = all.rows.filter((row) => !isSelf(row.q)).map((row) => ({ q: row.q, vector: row.layers[layer] }));
    if (q) about.languages.forEach(function (_, language) { // the same fact in the other languages is always compared
      const other = { ...q, language };
      if (language === q.language || others.some((one) => panel.factOf(one.q) === panel.factOf(q) && one.q.language === language)) return;
      others.push({ q: other, vector: atLast(mechxlModel.run(panel.model(), panel.prompt(panel.sentence(other)).ids))[layer] });
    });
    others.forEach((one) => { one.near = cosine(own, one.vector, all.means[layer]); });
    others.sort((a, b) => b.near - a.near);
    const same = (one) => q && panel.factOf(one.q) === panel.factOf(q);
    const rows = others.map((one, rank) => ({ ...one, rank: rank + 1 })).filter((one) => one.rank <= NEAREST || same(one)).map(function (one) {
      const right = panel.rightWord(one.q, one.q.language), sameValue = q && one.q.relation === q.relation && right !== null && about.value[one.q.language][panel.factOf(one.q)] === about.value[q.language][panel.factOf(q)];
      const what = same(one) ? "the same fact" : !q ? "" : one.q.entity === q.entity ? "the same entity" : sameValue ? "the same value" : one.q.relation === q.relation ? "the same relation" : "";
      return element("tr", [element("td", String(one.rank), { className: "number" }), element("td", about.languages[one.q.language]), element("td", word(panel.sentence(one.q)), { className: "sentence" }), element("td", word(right || "")), element("td", what), element("td", one.near.toFixed(2).replace("0.", "."), { className: "number" })], { className: same(one) ? "changed" : "" });
    });
    headed(at("near"), ["rank", "language", "prompt", "right answer", "shares", "cosine"], rows);
    at("near-caption").textContent = `How to read it: cosines between residual streams at the prompt's last token, after subtracting their mean, among ${others.length} prompts: a sample of ${about.compared.length} facts in every language, and the asked fact in the other languages, which is always listed. Where languages are unified, the same fact in another language comes first.`;
  }
  return { tell: (asked) => { tellLens(asked); tellHeads(asked); tellNearest(asked); } };
}
