"use strict";
(function () { // the panel's controls, what the model answers, and the course of the right answer over training
  const section = document.getElementById("model");
  const at = (id) => document.getElementById(`model-${id}`);
  const about = JSON.parse(section.querySelector("script.model-about").textContent);
  const tokens = mechxlModel.tokenizerOf(about.tokenizer), nLanguages = about.languages.length, nRelations = about.relations[0].length;
  const LEAST = 1e-3, SHOWN = 6;
  let models = null, unpacking = null, now = about.steps.length - 1, question = null, asked = null;

  // ---- small helpers, which look.js and patch.js use too
  function element(tag, content, properties) {
    const made = Object.assign(document.createElement(tag), properties || {});
    (Array.isArray(content) ? content : content === undefined ? [] : [content]).forEach((one) => made.append(one));
    return made;
  }
  const word = (text) => element("bdi", text, { lang: "und" });
  const heated = (cell, heat) => { cell.classList.add("heat"); cell.style.setProperty("--heat", heat.toFixed(3)); return cell; };
  const probability = (p) => p >= 0.995 ? (p >= 0.9995 ? "1.00" : "> .99") : p < 0.005 ? "< .01" : p.toFixed(2).slice(1);
  function share(p) {
    const cell = element("td", probability(p), { className: "share" }), bar = element("i");
    bar.style.setProperty("--share", p.toFixed(4));
    cell.append(bar);
    return cell;
  }
  function headed(table, columns, rows) {
    const head = element("tr", columns.map((name) => element("th", name, { scope: "col" })));
    table.replaceChildren(element("thead", head), element("tbody", rows));
  }
  const listed = (names) => names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}`;
  const stepName = (step) => `step ${step.toLocaleString("en")}`;
  const texts = about.tokenizer.texts || about.tokenizer.pieces; // tokens as a person reads them
  function pieces(ids) { return ids.map((id) => texts[id]); }

  // ---- facts: a fact is entity * relations + relation
  const values = new Map(); // value word -> [{relation, value, language}]
  about.values.forEach((of, relation) => of.forEach((words, value) => words.forEach(function (text, language) {
    if (text === "") return;
    if (!values.has(text)) values.set(text, []);
    values.get(text).push({ relation, value, language });
  })));
  const ends = about.ends ? [about.tokenizer.eos] : [], answers = new Map([...values.keys()].map((text) => [text, [...tokens(text), ...ends]]));
  const trie = mechxlModel.trieOf(answers), longest = Math.max(...[...answers.values()].map((one) => one.length));
  const factOf = (q) => q.entity * nRelations + q.relation;
  const questionOf = (fact, language) => ({ entity: Math.floor(fact / nRelations), relation: fact % nRelations, language });
  function rightWord(q, language) {
    const value = about.value[language][factOf(q)];
    return value < 0 ? null : about.values[q.relation][value][language];
  }
  const toldIn = (q) => about.languages.filter((_, language) => about.told[factOf(q)] >> language & 1);
  function sentence(q) {
    const both = [about.names[q.language][q.entity], about.relations[q.language][q.relation]];
    if (about.relation_first[q.language]) both.reverse();
    return [...(about.tags.length ? [about.tags[q.language]] : []), ...both].join(" ");
  }
  const numbered = (names) => { // of real facts, two things may have one name; a language may lack a name
    const found = new Map();
    names.forEach((name, number) => { if (name !== "") found.set(name, [...(found.get(name) || []), number]); });
    return found;
  };
  const entitiesAt = about.names.map(numbered), relationAt = about.relations.map((names) => new Map(names.map((name, relation) => [name, relation])));
  const isFact = (q) => about.languages.some((_, a) => about.value[a][factOf(q)] >= 0);
  const first = (found) => found && found[0];
  const entityAt = entitiesAt.map((found) => ({ get: (name) => first(found.get(name)) }));
  function recognized(text, preferred) { // the question that words ask; null: none
    const said = text.trim().split(/\s+/), order = [preferred, ...about.languages.keys()];
    for (const language of order) {
      const plain = about.tags.length && said[0] === about.tags[language] ? said.slice(1) : said;
      for (let cut = 1; cut < plain.length; cut++) { // words may hold spaces
        const parts = [plain.slice(0, cut).join(" "), plain.slice(cut).join(" ")];
        const [name, asked] = about.relation_first[language] ? parts.reverse() : parts;
        const relation = relationAt[language].get(asked), alike = entitiesAt[language].get(name);
        if (relation === undefined || !alike) continue;
        const entity = alike.find((one) => isFact({ entity: one, relation }));
        return { entity: entity === undefined ? alike[0] : entity, relation, language };
      }
    }
    return null;
  }
  function words(text) { // the words of a prompt: tag, name and relation where they ask a question, else what spaces divide
    const said = text.trim().split(/\s+/).filter((one) => one !== ""), q = recognized(text, Number(at("language").value));
    if (!q) return said;
    const both = [about.names[q.language][q.entity], about.relations[q.language][q.relation]];
    if (about.relation_first[q.language]) both.reverse();
    return [...(about.tags.length && said[0] === about.tags[q.language] ? [said[0]] : []), ...both];
  }
  // The prompt's tokens and, of each, its word and its place in the word; or what is wrong with it.
  function prompt(text) {
    const said = words(text), ids = [about.tokenizer.bos], places = [{ word: -1, place: 0, of: 1 }];
    if (!said.length) return { problem: "Pick an entity, or type words." };
    for (let number = 0; number < said.length; number++) {
      const cut = tokens(said[number]);
      if (!cut) return { problem: `The model has no tokens for “${said[number]}”: training never shows its letters or pieces.` };
      cut.forEach((id, place) => { ids.push(id); places.push({ word: number, place, of: cut.length }); });
    }
    if (ids.length + longest - 1 > about.context) return { problem: `That is ${ids.length} tokens with the start token; the model reads at most ${about.context - longest + 1}.` };
    return { ids, places };
  }

  // ---- answers
  function ask(model, ids, q) {
    const ran = mechxlModel.run(model, ids), always = new Set(q ? about.languages.map((_, a) => rightWord(q, a)).filter((one) => one !== null) : []);
    return { ran, ...mechxlModel.answers(model, ran, trie, always, LEAST) };
  }
  function kindOf(text, q) { // as the page's four kinds of answers
    if (text === null) return "";
    if (q && text === rightWord(q, q.language)) return "is-right";
    if (q && about.languages.some((_, a) => text === rightWord(q, a))) return "is-other";
    return "is-wrong";
  }
  function meaning(text, q) {
    if (text === null) return "no value word, or an unlikely one";
    const right = q ? about.languages.filter((_, a) => text === rightWord(q, a)) : [];
    if (right.length) return `right in ${listed(right)}`;
    const means = values.get(text), languages = [...new Set(means.map((one) => about.languages[one.language]))];
    const other = q && !means.some((one) => one.relation === q.relation) ? "a value of another relation" : "another value";
    return `${q ? other : "a value"} in ${listed(languages)}`;
  }
  function verdict(q, found) { // one sentence or two, with the model's answer first
    const nodes = [`At ${stepName(models[now].step)} the model answers `];
    const p = found.greedy === null ? null : found.words.get(found.greedy);
    nodes.push(...(found.greedy === null ? ["no value word. "] : [word(found.greedy), ` (probability ${probability(p)})`]));
    if (!q) return [...nodes, found.greedy === null ? "" : `, ${meaning(found.greedy, null)}. `, "These words ask no fact of this page, so nothing is right."];
    const told = toldIn(q), right = rightWord(q, q.language), asks = about.languages[q.language];
    if (right === null) return [...nodes, found.greedy === null ? "" : ". ", "Training never names this entity: there is no right answer, and this is the model's prior."];
    if (found.greedy !== null) nodes.push(found.greedy === right ? `: right in ${asks}. ` : kindOf(found.greedy, q) === "is-other" ? ": the right value, but another language's word. " : ": wrong. ");
    if (found.greedy !== right) nodes.push(`Right in ${asks} is `, word(right), ` (${probability(found.words.get(right))}). `);
    const where = told.length === nLanguages ? "in every language" : `in ${listed(told)} only`;
    const crosses = told.includes(asks) ? "so this is recall." : found.greedy === right ? "so this is transfer." : "so a right answer here would be transfer.";
    return [...nodes, `Training tells this fact ${where}, ${crosses}`];
  }
  function tellAnswers(q, found) {
    const likely = [...found.words].sort((a, b) => b[1] - a[1]), must = q ? about.languages.map((_, a) => rightWord(q, a)) : [];
    const shown = likely.filter(([text], place) => place < SHOWN || must.includes(text));
    const rest = found.rest + likely.filter((one) => !shown.includes(one)).reduce((sum, one) => sum + one[1], 0);
    const rows = shown.map(function ([text, p]) {
      return element("tr", [element("td", word(text)), element("td", meaning(text, q)), share(p)], { className: kindOf(text, q) });
    });
    rows.push(element("tr", [element("td", "all else"), element("td", ""), share(Math.min(1, rest))]));
    headed(at("answers"), ["answer", "what it is", "probability"], rows);
  }

  // ---- the course over training, drawn by hand: as wide as its column
  function svg(tag, attributes, text) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
    if (text !== undefined) made.textContent = text;
    return made;
  }
  function tellCourse() {
    const box = at("course"), q = question, lines = [];
    if (!asked || !asked.all || asked.all.some((one) => !one)) return;
    const groups = q ? about.languages.map((name, a) => ({ name: `right in ${name}`, text: rightWord(q, a), asked: a === q.language })).filter((one) => one.text !== null) : [];
    if (!groups.length) groups.push({ name: "its answer of now", text: asked.all[now].greedy, asked: true });
    groups.sort((a, b) => a.asked - b.asked); // the asked language is drawn on top
    groups.forEach((group) => lines.push({ ...group, p: asked.all.map((one) => one.words.get(group.text) || 0) }));
    const width = Math.max(260, box.clientWidth || 480), height = 210, left = 30, right = 14, top = 8, bottom = 26, n = about.steps.length;
    const x = (place) => left + (n > 1 ? place / (n - 1) : 0.5) * (width - left - right), y = (p) => top + (1 - p) * (height - top - bottom);
    const spoken = lines.map((line) => `${line.name}, ${line.text}: ${line.p.map((p, place) => `${stepName(about.steps[place])} ${probability(p)}`).join(", ")}`).join("; ");
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": `Probability over checkpoints. ${spoken}` });
    [0, 0.5, 1].forEach(function (p) {
      drawing.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(p), y2: y(p) }), svg("text", { x: left - 6, y: y(p) + 4, "text-anchor": "end" }, String(p).replace("0.", ".")));
    });
    let free = -Infinity;
    about.steps.forEach(function (step, place) { // as many labels as fit
      const room = 7 * step.toLocaleString("en").length / 2 + 5, edge = place === n - 1;
      if (x(place) - room < free || (!edge && x(place) + room > x(n - 1) - 26)) return;
      free = x(place) + room;
      drawing.append(svg("text", { x: edge ? width - 2 : x(place), y: height - 8, "text-anchor": edge ? "end" : "middle" }, step.toLocaleString("en")));
    });
    drawing.append(svg("line", { class: "now", x1: x(now), x2: x(now), y1: top, y2: height - bottom }));
    lines.forEach((line) => drawing.append(svg("path", { class: line.asked ? "asked" : "", d: line.p.map((p, place) => `${place ? "L" : "M"}${x(place).toFixed(1)} ${y(p).toFixed(1)}`).join("") })));
    about.steps.forEach(function (step, place) {
      const half = (width - left - right) / Math.max(1, n - 1) / 2, hit = svg("rect", { x: x(place) - half, y: 0, width: 2 * half, height });
      hit.append(svg("title", {}, `${stepName(step)}: ${lines.map((line) => `${line.name} ${probability(line.p[place])}`).join(", ")}`));
      hit.addEventListener("click", () => choose(place));
      drawing.append(hit);
    });
    box.replaceChildren(drawing);
    const keys = [...lines].reverse().flatMap((line) => [element("span", undefined, { className: `model-key ${line.asked ? "asked" : ""}` }), `${line.name}: `, word(line.text || "none"), element("br")]);
    at("course-caption").replaceChildren(...keys, "Probability at each checkpoint of the page, evenly spaced; a click chooses one.");
  }

  // ---- asking
  let turn = 0;
  async function tell() {
    const mine = ++turn, text = at("words").value, read = prompt(text);
    asked = null;
    at("step").textContent = stepName(about.steps[now]);
    at("checkpoint").setAttribute("aria-valuetext", stepName(about.steps[now]));
    if (!models) return;
    section.dispatchEvent(new CustomEvent("mechxl-question", { bubbles: true, detail: state() }));
    if (read.problem) {
      at("answer").textContent = read.problem;
      ["answers", "course", "course-caption", "lens", "heads", "near"].forEach((id) => at(id).replaceChildren());
      patch.tell(null);
      return;
    }
    const found = ask(models[now], read.ids, question);
    asked = { text, read, found, all: about.steps.map(() => null) };
    asked.all[now] = found;
    at("answer").replaceChildren(...verdict(question, found));
    tellAnswers(question, found);
    if (at("look").open) look.tell(asked);
    if (at("patch").open) patch.tell(asked);
    for (let place = 0; place < models.length; place++) { // a checkpoint at a time, so that the page stays alive
      if (asked.all[place]) continue;
      await new Promise((done) => setTimeout(done));
      if (mine !== turn) return;
      asked.all[place] = ask(models[place], read.ids, question);
    }
    tellCourse();
  }
  function choose(place) {
    now = place;
    at("checkpoint").value = String(place);
    tell();
  }
  function fill(list, names) { list.replaceChildren(...[...new Set(names)].filter((name) => name !== "").map((name) => element("option", undefined, { value: name }))); }
  function pick(q) {
    if (!question || question.language !== q.language || !at("entities").children.length) fill(at("entities"), about.names[q.language]);
    question = q;
    at("entity").value = about.names[q.language][q.entity];
    at("relation").value = String(q.relation);
    at("language").value = String(q.language);
    at("words").value = sentence(q);
    return tell();
  }
  function picked() {
    const language = Number(at("language").value), relation = Number(at("relation").value), name = at("entity").value.trim();
    const before = question ? question.language : language;
    const alike = [language, before].flatMap((one) => entitiesAt[one].get(name) || []).filter((one) => about.names[language][one] !== "");
    const entity = alike.find((one) => isFact({ entity: one, relation })) ?? alike[0];
    if (entity !== undefined) return pick({ entity, relation, language });
    question = null; // an entity that the page does not know: its words are asked as they stand
    const both = [name, about.relations[language][relation]];
    if (about.relation_first[language]) both.reverse();
    at("words").value = [...(about.tags.length ? [about.tags[language]] : []), ...both].join(" ");
    return tell();
  }
  const relationNames = about.relations[0].map((_, relation) => `${relation + 1}: ${[...new Set(about.relations.map((names) => names[relation]))].slice(0, 3).join(" · ")}`);
  const options = (names) => names.map((name, number) => element("option", name, { value: String(number) }));
  const anyOf = (some) => some[Math.floor(Math.random() * some.length)];
  function state() { return { step: about.steps[now], words: at("words").value, language: Number(at("language").value) }; }
  function restore(kept) {
    const place = about.steps.indexOf(kept.step), q = recognized(String(kept.words || ""), Number(kept.language) || 0);
    if (place >= 0) { now = place; at("checkpoint").value = String(place); }
    if (q) { pick(q); at("words").value = kept.words; return tell(); }
    question = null;
    at("words").value = String(kept.words || "");
    return tell();
  }
  const panel = { about, at, element, word, heated, probability, share, headed, listed, pieces, options, anyOf, fill, rightWord, sentence, questionOf, factOf, prompt, ask, meaning, kindOf, relationNames, entityAt, nRelations, nLanguages, values, trie, answerTokens: (text) => answers.get(text), model: () => models[now], question: () => question, asked: () => asked };
  const look = mechxlLook(panel), patch = mechxlPatch(panel);

  at("relation").append(...options(relationNames));
  at("language").append(...options(about.languages));
  ["entity", "relation", "language"].forEach((id) => at(id).addEventListener("change", picked));
  at("words").addEventListener("change", function () {
    const q = recognized(at("words").value, Number(at("language").value)), typed = at("words").value;
    if (q) { pick(q); at("words").value = typed; } else { question = null; }
    tell();
  });
  at("other").addEventListener("click", function () {
    const facts = about.value[0].map((_, fact) => fact).filter((fact) => about.value[0][fact] >= 0);
    pick(questionOf(anyOf(facts), Number(at("language").value)));
  });
  section.addEventListener("submit", (event) => event.preventDefault());
  at("checkpoint").addEventListener("input", () => choose(Number(at("checkpoint").value)));
  document.addEventListener("mechxl-step", function (event) { // the page's checkpoint: the nearest that is here
    const nearest = about.steps.reduce((best, step, place) => Math.abs(step - event.detail) < Math.abs(about.steps[best] - event.detail) ? place : best, 0);
    if (nearest !== now) choose(nearest);
  });
  at("look").addEventListener("toggle", () => at("look").open && asked && look.tell(asked));
  at("patch").addEventListener("toggle", () => at("patch").open && patch.tell(asked));
  at("equal").textContent = `The weights are rounded. On ${about.tried.toLocaleString("en")} prompts of this run the page's logits were within ${Math.max(...about.errors)} of the model's own; a better answer by less than .02 is not told apart.` + (about.names[0].length < about.all_entities ? ` The page knows the right answers of ${about.names[0].length.toLocaleString("en")} of ${about.all_entities.toLocaleString("en")} entities, a sample.` : "");
  new ResizeObserver(() => asked && tellCourse()).observe(at("course"));

  // ---- unpacked when it comes near the screen
  function unpack() {
    unpacking = unpacking || mechxlModel.decode(about, section.querySelector("script.model-weights").textContent.trim()).then(function (made) {
      models = made;
      return tell();
    }).catch(function (error) { at("answer").textContent = `The model can't be unpacked in this browser (${error.message}).`; });
    return unpacking;
  }
  const mono = about.first.length ? about.first[0] : 0;
  const untold = about.languages.findIndex((_, language) => !(about.told[mono] >> language & 1));
  pick(questionOf(mono, Math.max(0, untold)));
  new IntersectionObserver((entries, seen) => entries.some((one) => one.isIntersecting) && (seen.disconnect(), unpack()), { rootMargin: "600px 0px" }).observe(section);
  window.addEventListener("beforeprint", unpack);
  section.panel = { unpack, state, restore, models: () => models, tokens, trie };
})();
