"""The United Nations' grouping of territories (M49): each territory's region, and each region's continent."""

REGIONS = {
    "005": "AR BO BR BV CL CO EC FK GF GS GY PE PY SR UY VE",  # South America
    "011": "BF BJ CI CV GH GM GN GW LR ML MR NE NG SH SL SN TG",  # Western Africa
    "013": "BZ CR GT HN MX NI PA SV",  # Central America
    "014": "BI DJ ER ET IO KE KM MG MU MW MZ RE RW SC SO SS TF TZ UG YT ZM ZW",  # Eastern Africa
    "015": "DZ EG EH LY MA SD TN",  # Northern Africa
    "017": "AO CD CF CG CM GA GQ ST TD",  # Middle Africa
    "018": "BW LS NA SZ ZA",  # Southern Africa
    "021": "BM CA GL PM US",  # Northern America
    "029": "AG AI AW BB BL BQ BS CU CW DM DO GD GP HT JM KN KY LC MF MQ MS PR SX TC TT VC VG VI",  # Caribbean
    "030": "CN HK JP KP KR MN MO TW",  # Eastern Asia
    "034": "AF BD BT IN IR LK MV NP PK",  # Southern Asia
    "035": "BN ID KH LA MM MY PH SG TH TL VN",  # South-Eastern Asia
    "039": "AD AL BA ES GI GR HR IT ME MK MT PT RS SI SM VA XK",  # Southern Europe
    "053": "AU CC CX HM NF NZ",  # Australia and New Zealand
    "054": "FJ NC PG SB VU",  # Melanesia
    "057": "FM GU KI MH MP NR PW UM",  # Micronesia
    "061": "AS CK NU PF PN TK TO TV WF WS",  # Polynesia
    "143": "KG KZ TJ TM UZ",  # Central Asia
    "145": "AE AM AZ BH CY GE IL IQ JO KW LB OM PS QA SA SY TR YE",  # Western Asia
    "151": "BG BY CZ HU MD PL RO RU SK UA",  # Eastern Europe
    "154": "AX DK EE FI FO GB GG IE IM IS JE LT LV NO SE SJ",  # Northern Europe
    "155": "AT BE CH DE FR LI LU MC NL",  # Western Europe
}  # Antarctica is in no region; Taiwan and Kosovo, which M49 does not list, stand where CLDR has them
CONTINENTS = {
    "002": "011 014 015 017 018",  # Africa
    "009": "053 054 057 061",  # Oceania
    "019": "005 013 021 029",  # the Americas
    "142": "030 034 035 143 145",  # Asia
    "150": "039 151 154 155",  # Europe
}
REGION_OF = {territory: region for region, listed in REGIONS.items() for territory in listed.split()}
CONTINENT_OF = {region: continent for continent, listed in CONTINENTS.items() for region in listed.split()}
